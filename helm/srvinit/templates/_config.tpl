{{/* The folder that the ConfigMap is mounted on. Never by subPath: such a mount is never updated. */}}
{{- define "srvinit.configFolder" -}}/etc/srvinit{{- end -}}

{{/* Addresses for srvinit to bind, as JSON: `ports` in their order. */}}
{{- define "srvinit.addresses" -}}
{{- $addresses := list -}}
{{- range .Values.ports -}}
{{- if ne (toString .bind) "false" -}}
{{- $address := printf ":%d" (int64 .port) -}}
{{- if eq (.protocol | default "TCP") "UDP" -}}{{- $address = printf "udp:%s" $address -}}{{- end -}}
{{- $addresses = append $addresses (printf "%s=%s" .name $address) -}}
{{- end -}}
{{- end -}}
{{- toJson $addresses -}}
{{- end -}}

{{/* All settings of the file, as JSON: those given, and those that follow from other values. */}}
{{- define "srvinit.settings" -}}
{{- $settings := deepCopy .Values.settings -}}
{{- $addresses := include "srvinit.addresses" . | fromJsonArray -}}
{{- if $addresses -}}
{{- $_ := set $settings "bind" (merge (dict "address" $addresses) ($settings.bind | default dict)) -}}
{{- end -}}
{{- if .Values.http.enabled -}}
{{- $_ := set $settings "http" (printf ":%d" (int64 .Values.http.port)) -}}
{{- end -}}
{{- if .Values.config.watch -}}
{{- $recycle := $settings.recycle | default dict -}}
{{- $watched := prepend ($recycle.watch | default list) (include "srvinit.configFolder" .) -}}
{{- $_ := set $settings "recycle" (merge (dict "watch" $watched) $recycle) -}}
{{- end -}}
{{- toJson $settings -}}
{{- end -}}

{{/* A value as TOML: JSON's strings are TOML's, its whole numbers must not become 1e+06 or 4.0. */}}
{{- define "srvinit.tomlValue" -}}
{{- if kindIs "slice" . -}}
[{{ range $index, $entry := . }}{{ if $index }}, {{ end }}{{ include "srvinit.tomlValue" $entry }}{{ end }}]
{{- else if kindIs "string" . -}}
{{ toJson . }}
{{- else -}}
{{ include "srvinit.scalar" . }}
{{- end -}}
{{- end -}}

{{/* A table of TOML, from (name, dict): its values first, then its tables. */}}
{{- define "srvinit.toml" -}}
{{- $name := index . 0 -}}
{{- $table := index . 1 -}}
{{- if $name }}
[{{ $name }}]
{{ end -}}
{{- range $key := keys $table | sortAlpha -}}
{{- $value := get $table $key -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) -}}
{{ include "srvinit.tomlKey" $key }} = {{ include "srvinit.tomlValue" $value }}
{{ end -}}
{{- end -}}
{{- range $key := keys $table | sortAlpha -}}
{{- $value := get $table $key -}}
{{- if kindIs "map" $value -}}
{{- include "srvinit.toml" (list (printf "%s%s%s" $name (empty $name | ternary "" ".") (include "srvinit.tomlKey" $key)) $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "srvinit.tomlKey" -}}
{{- if regexMatch `^[A-Za-z0-9_-]+$` . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}
