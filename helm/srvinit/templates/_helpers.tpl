{{- define "srvinit.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "srvinit.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of the pods that serve, which the pods of `helm test` have not. */}}
{{- define "srvinit.workerLabels" -}}
{{ include "srvinit.selectorLabels" . }}
app.kubernetes.io/component: workers
{{- end -}}

{{/* Labels of every object. Selectors have fewer: they cannot change. */}}
{{- define "srvinit.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "srvinit.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "srvinit.metadata" -}}
name: {{ include "srvinit.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "srvinit.labels" . | nindent 2 }}
{{- end -}}

{{- define "srvinit.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "srvinit.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "srvinit.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ include "srvinit.scalar" .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
A value as text. Numbers of a values file reach a template as floating point, which Go writes as
1e+06 from a million on.
*/}}
{{- define "srvinit.scalar" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{/* A duration of srvinit, or a number of seconds, as milliseconds; nothing if it is neither. */}}
{{- define "srvinit.ms" -}}
{{- $text := include "srvinit.scalar" . -}}
{{- if regexMatch `^[0-9]+(\.[0-9]+)?(ms|s|m|h)?$` $text -}}
{{- $factor := get (dict "" 1000 "ms" 1 "s" 1000 "m" 60000 "h" 3600000) (regexFind `[a-z]*$` $text) -}}
{{- mulf (regexFind `^[0-9.]+` $text | float64) $factor | int64 -}}
{{- end -}}
{{- end -}}

{{/* Milliseconds as people read them: 30 s, 1.5 s. */}}
{{- define "srvinit.shown" -}}
{{- $ms := int64 . -}}
{{- if mod $ms 1000 -}}{{ divf $ms 1000 }} s{{- else -}}{{ div $ms 1000 }} s{{- end -}}
{{- end -}}

{{/* Milliseconds that a preStop hook takes: as said, or as a sleep hook itself says. */}}
{{- define "srvinit.preStopMs" -}}
{{- $said := int64 .Values.preStopSeconds -}}
{{- $sleeps := dig "preStop" "sleep" "seconds" 0 .Values.lifecycle | int64 -}}
{{- mul (max $said $sleeps) 1000 -}}
{{- end -}}

{{/* Milliseconds of the grace period that are srvinit's. */}}
{{- define "srvinit.budgetMs" -}}
{{- $others := add (include "srvinit.preStopMs" . | int64) (mul (int64 .Values.sidecarSeconds) 1000) -}}
{{- sub (mul (int64 .Values.terminationGracePeriodSeconds) 1000) $others -}}
{{- end -}}

{{/* The shutdown's parts in milliseconds, as JSON: delay, timeout (what is left, if it is not set), margin. */}}
{{- define "srvinit.shutdown" -}}
{{- $given := .Values.settings.shutdown | default dict -}}
{{- $budget := include "srvinit.budgetMs" . | int64 -}}
{{- $delay := include "srvinit.ms" ($given.delay | default 0) | int64 -}}
{{- $margin := include "srvinit.ms" (hasKey $given "margin" | ternary $given.margin 1) | int64 -}}
{{- $rest := sub $budget (add $delay $margin) -}}
{{- $timeout := hasKey $given "timeout" | ternary (include "srvinit.ms" ($given.timeout | default 0) | int64) $rest -}}
{{- dict "budget" $budget "delay" $delay "margin" $margin "timeout" $timeout | toJson -}}
{{- end -}}

{{/* Seconds of the startup probe: two attempts to start, or as said. */}}
{{- define "srvinit.startupSeconds" -}}
{{- $said := int64 .Values.probes.startup.seconds -}}
{{- $timeout := include "srvinit.ms" (dig "worker" "timeout" "2s" .Values.settings) | int64 -}}
{{- $delay := include "srvinit.ms" (dig "restart" "delay" "5s" .Values.settings) | int64 -}}
{{- $twice := add (div (add (mul 2 $timeout) $delay 999) 1000) 5 -}}
{{- $said | default $twice -}}
{{- end -}}

{{/* How many pods there are at least. */}}
{{- define "srvinit.fewestPods" -}}
{{- .Values.autoscaling.enabled | ternary .Values.autoscaling.minReplicas .Values.replicas | int64 -}}
{{- end -}}

{{/* Hold (say "yes") if the cluster is of that version or later. */}}
{{- define "srvinit.atLeast" -}}
{{- $root := index . 0 -}}
{{- semverCompare (printf ">=%s.0-0" (index . 1)) $root.Capabilities.KubeVersion.Version | ternary "yes" "" -}}
{{- end -}}
