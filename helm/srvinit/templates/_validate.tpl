{{/*
All that contradicts itself in the values, at once: one line a fault, each with the value and the
remedy. values.schema.json has found typing errors and wrong types by then; here is what only values
together can say. Each rule is a template of its own that says nothing where all is well.
*/}}
{{- define "srvinit.validate" -}}
{{- $faults := list -}}
{{- range $rule := list "required" "budget" "preStop" "derived" "ports" "startup" "scale" "files" "features" -}}
{{- range $line := include (printf "srvinit.fault.%s" $rule) $ | splitList "\n" -}}
{{- with trim $line -}}{{- $faults = append $faults (printf "- %s" .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if $faults -}}
{{- fail (printf "\n%d %s in these values:\n%s\n" (len $faults) (len $faults | eq 1 | ternary "fault" "faults") (join "\n" $faults)) -}}
{{- end -}}
{{- end -}}

{{- define "srvinit.fault.required" -}}
{{- if not .Values.image.repository }}
image.repository is empty: give the image of your program
{{- end }}
{{- if not (or .Values.image.tag .Values.image.digest) }}
image.tag is empty, and image.digest too: give the one that a roll-out is to bring
{{- end }}
{{- if and (kindIs "float64" .Values.image.tag) (not .Values.image.digest) }}
image.tag {{ include "srvinit.scalar" .Values.image.tag }} is a number in the values file, and may have looked different there: quote it
{{- end }}
{{- if not .Values.command }}
command is empty: give what srvinit runs as each worker, as in command: [gunicorn, "app:app"]
{{- end }}
{{- end -}}

{{- define "srvinit.fault.budget" -}}
{{- $parts := include "srvinit.shutdown" . | fromJson -}}
{{- $grace := int64 .Values.terminationGracePeriodSeconds -}}
{{- $words := list -}}
{{- with include "srvinit.preStopMs" . | int64 -}}{{- $words = append $words (printf "preStop %s" (include "srvinit.shown" .)) -}}{{- end -}}
{{- with int64 .Values.sidecarSeconds -}}{{- $words = append $words (printf "sidecarSeconds %d s" .) -}}{{- end -}}
{{- $words = append $words (printf "settings.shutdown.delay %s" (include "srvinit.shown" $parts.delay)) -}}
{{- $sum := sub (mul $grace 1000) $parts.budget | add $parts.delay $parts.margin -}}
{{- $given := hasKey (.Values.settings.shutdown | default dict) "timeout" -}}
{{- if $given -}}
{{- $words = append $words (printf "settings.shutdown.timeout %s" (include "srvinit.shown" $parts.timeout)) -}}
{{- $sum = add $sum (int64 $parts.timeout) -}}
{{- end -}}
{{- $words = append $words (printf "margin %s" (include "srvinit.shown" $parts.margin)) -}}
{{- $said := printf "%s = %s" (join " + " $words) (include "srvinit.shown" $sum) -}}
{{- $needed := div (add $sum 999) 1000 -}}
{{- if and $given (gt $sum (mul $grace 1000)) }}
{{ $said }}, but terminationGracePeriodSeconds is {{ $grace }}: lower one of them, or raise that to {{ $needed }}
{{- else if and (not $given) (ge $sum (mul $grace 1000)) }}
{{ $said }} leaves the workers no time to stop in terminationGracePeriodSeconds {{ $grace }}: lower one of them, or raise that
{{- end }}
{{- end -}}

{{- define "srvinit.fault.preStop" -}}
{{- $hook := .Values.lifecycle.preStop -}}
{{- $sleep := dig "preStop" "sleep" "seconds" 0 .Values.lifecycle | int64 -}}
{{- if and $hook (not (include "srvinit.preStopMs" . | int64)) }}
lifecycle.preStop runs before srvinit gets SIGTERM, inside the grace period: say in preStopSeconds how long it takes at most
{{- end }}
{{- if and .Values.preStopSeconds (not $hook) }}
preStopSeconds is {{ int64 .Values.preStopSeconds }}, but lifecycle.preStop is empty: nothing takes that time
{{- end }}
{{- if and $sleep .Values.preStopSeconds (gt $sleep (int64 .Values.preStopSeconds)) }}
lifecycle.preStop.sleep takes {{ $sleep }} s, but preStopSeconds is {{ int64 .Values.preStopSeconds }}: leave preStopSeconds out
{{- end }}
{{- if and (dig "preStop" "sleep" "" .Values.lifecycle) (not (include "srvinit.atLeast" (list . "1.30"))) }}
lifecycle.preStop.sleep needs Kubernetes 1.30, this is {{ .Capabilities.KubeVersion.Version }}: settings.shutdown.delay does its work on every version
{{- end }}
{{- if and .Values.lifecycle.stopSignal (ne .Values.lifecycle.stopSignal "SIGTERM") }}
lifecycle.stopSignal is {{ .Values.lifecycle.stopSignal }}: srvinit shuts down at SIGTERM; leave it out, and name your program's signal in settings.worker.stop_signal
{{- end }}
{{- end -}}

{{- define "srvinit.fault.derived" -}}
{{- if hasKey (.Values.settings.shutdown | default dict) "grace_period" }}
settings.shutdown.grace_period follows from terminationGracePeriodSeconds: leave it out
{{- end }}
{{- if hasKey .Values.settings "http" }}
settings.http follows from http.port: leave it out
{{- end }}
{{- if or (kindIs "slice" .Values.settings.bind) (dig "bind" "address" "" .Values.settings) }}
settings.bind follows from ports: leave the addresses out; other settings of bind stay, as in settings.bind.mode
{{- end }}
{{- range $entry := .Values.env }}
{{- if has $entry.name (list "SRVINIT_CONFIG" "SRVINIT_SHUTDOWN_GRACE_PERIOD" "SRVINIT_HTTP" "SRVINIT_BIND") }}
env has {{ $entry.name }}, which follows from other values: leave it out
{{- else if hasPrefix "SRVINIT_" $entry.name }}
env has {{ $entry.name }}, which would go over the settings of the ConfigMap for good: set it in settings
{{- end }}
{{- end }}
{{- end -}}

{{- define "srvinit.fault.ports" -}}
{{- $names := list -}}
{{- $numbers := list -}}
{{- if .Values.http.enabled -}}
{{- $names = append $names "srvinit" -}}
{{- $numbers = append $numbers (printf "TCP %d" (int64 .Values.http.port)) -}}
{{- end -}}
{{- range $port := .Values.ports }}
{{- $number := printf "%s %d" ($port.protocol | default "TCP") (int64 $port.port) }}
{{- if has $port.name $names }}
ports has two of the name {{ $port.name }}{{ if eq $port.name "srvinit" }}, which is that of http.port{{ end }}: give one another name
{{- end }}
{{- if has $number $numbers }}
ports has {{ $number }} twice{{ if eq (int64 $port.port) (int64 $.Values.http.port) }}, or http.port has it{{ end }}: give one another number
{{- end }}
{{- $names = append $names $port.name }}
{{- $numbers = append $numbers $number }}
{{- end }}
{{- $bound := include "srvinit.addresses" . | fromJsonArray }}
{{- if and (eq (dig "worker" "require" "online" .Values.settings) "listen") (not $bound) }}
settings.worker.require is listen, but srvinit binds no port: give one in ports (without bind: false), or require online or notify
{{- end }}
{{- if and .Values.service.enabled (not .Values.ports) }}
service.enabled is true, but ports is empty: a Service needs one; service.enabled=false for a pod that serves nobody
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.http.enabled) }}
serviceMonitor.enabled needs http.enabled: that is where the metrics are
{{- end }}
{{- end -}}

{{- define "srvinit.fault.startup" -}}
{{- $seconds := include "srvinit.startupSeconds" . | int64 -}}
{{- $timeout := include "srvinit.ms" (dig "worker" "timeout" "2s" .Values.settings) | int64 -}}
{{- if and .Values.probes.startup.enabled (lt (mul $seconds 1000) $timeout) }}
probes.startup.seconds is {{ $seconds }}, but a worker may take settings.worker.timeout {{ include "srvinit.shown" $timeout }}: raise the one, or lower the other
{{- end }}
{{- end -}}

{{- define "srvinit.fault.scale" -}}
{{- $pods := include "srvinit.fewestPods" . | int64 -}}
{{- $scaler := .Values.autoscaling -}}
{{- if $scaler.enabled }}
{{- if gt (int64 $scaler.minReplicas) (int64 $scaler.maxReplicas) }}
autoscaling.minReplicas {{ int64 $scaler.minReplicas }} is more than autoscaling.maxReplicas {{ int64 $scaler.maxReplicas }}
{{- end }}
{{- if and $scaler.targetCPUUtilizationPercentage (not (dig "requests" "cpu" "" .Values.resources)) }}
autoscaling.targetCPUUtilizationPercentage is a share of resources.requests.cpu, which is not set: set it, or the target to 0
{{- end }}
{{- if and $scaler.targetMemoryUtilizationPercentage (not (dig "requests" "memory" "" .Values.resources)) }}
autoscaling.targetMemoryUtilizationPercentage is a share of resources.requests.memory, which is not set: set it, or the target to 0
{{- end }}
{{- if not (or $scaler.targetCPUUtilizationPercentage $scaler.targetMemoryUtilizationPercentage $scaler.metrics) }}
autoscaling.enabled has nothing to go by: give a target or metrics
{{- end }}
{{- end }}
{{- $budget := .Values.podDisruptionBudget -}}
{{- $least := $budget.minAvailable | toString -}}
{{- $most := $budget.maxUnavailable | toString -}}
{{- if and $budget.enabled (gt $pods 1) }}
{{- if and (ne $least "") (ne $most "") }}
podDisruptionBudget has both maxUnavailable {{ $most }} and minAvailable {{ $least }}: Kubernetes takes one; set the other to ""
{{- else if and (eq $least "") (eq $most "") }}
podDisruptionBudget has neither maxUnavailable nor minAvailable: give one, or set podDisruptionBudget.enabled=false
{{- end }}
{{- if or (and (regexMatch `^[0-9]+$` $least) (ge (int64 $least) $pods)) (eq $least "100%") (has $most (list "0" "0%")) }}
podDisruptionBudget lets no pod go ({{ if $least }}minAvailable {{ $least }} of {{ $pods }}{{ else }}maxUnavailable {{ $most }}{{ end }}): no node could ever be drained
{{- end }}
{{- end }}
{{- if and .Values.volumeClaimTemplates (ne .Values.kind "StatefulSet") }}
volumeClaimTemplates needs kind: StatefulSet
{{- end }}
{{- end -}}

{{- define "srvinit.fault.files" -}}
{{- $watched := dig "recycle" "watch" list .Values.settings -}}
{{- $folder := include "srvinit.configFolder" . -}}
{{- range $mount := .Values.volumeMounts }}
{{- $path := $mount.mountPath | trimSuffix "/" }}
{{- if has $path (list $folder $.Values.srvinitPath (ternary "/tmp" "" $.Values.tmp.enabled)) }}
volumeMounts has {{ $path }}, which the chart mounts itself{{ if eq $path "/tmp" }}: tmp.enabled=false for your own{{ else }}: mount yours elsewhere{{ end }}
{{- end }}
{{- range $file := $watched }}
{{- if and $mount.subPath (or (eq $file $path) (hasPrefix (printf "%s/" $path) $file)) }}
settings.recycle.watch has {{ $file }}, but volumeMounts mounts {{ $path }} by subPath, and such a mount is never updated: mount the folder
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.inject.enabled (ne .Values.srvinitPath "/opt/srvinit") }}
inject.enabled puts srvinit at /opt/srvinit, where alone it runs, but srvinitPath is {{ .Values.srvinitPath }}: leave srvinitPath out
{{- end }}
{{- end -}}

{{- define "srvinit.fault.features" -}}
{{- range $container := .Values.initContainers }}
{{- if and (eq ($container.restartPolicy | default "") "Always") (not (include "srvinit.atLeast" (list $ "1.29"))) }}
initContainers has the sidecar {{ $container.name }}, which needs Kubernetes 1.29, this is {{ $.Capabilities.KubeVersion.Version }}: use extraContainers
{{- end }}
{{- end }}
{{- if and (ne (.Values.podSecurityContext.runAsNonRoot | toString) "false") (eq (.Values.podSecurityContext.runAsUser | toString) "0") }}
podSecurityContext.runAsUser is 0, which runAsNonRoot refuses: give another number
{{- end }}
{{- end -}}
