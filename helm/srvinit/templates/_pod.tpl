{{/* One probe, from (root, HTTP path, srvinitctl's word, values): how it asks, and how often. */}}
{{- define "srvinit.probe" -}}
{{- $root := index . 0 -}}
{{- $times := index . 3 -}}
{{- if $root.Values.http.enabled }}
httpGet:
  path: {{ index . 1 }}
  port: srvinit
{{- else }}
exec:
  command: [{{ printf "%s/srvinitctl" $root.Values.srvinitPath | quote }}, {{ index . 2 | quote }}]
{{- end }}
periodSeconds: {{ int64 $times.periodSeconds }}
timeoutSeconds: {{ int64 ($times.timeoutSeconds | default 2) }}
failureThreshold: {{ int64 $times.failureThreshold }}
{{- end -}}

{{- define "srvinit.probes" -}}
{{- $probes := .Values.probes -}}
{{- with $probes.startup }}
{{- if .enabled }}
{{- $times := ceil (divf (include "srvinit.startupSeconds" $) .periodSeconds) }}
startupProbe:
  {{- include "srvinit.probe" (list $ "/readyz" "ready" (dict "periodSeconds" .periodSeconds "failureThreshold" $times)) | trim | nindent 2 }}
{{- end }}
{{- end }}
{{- with $probes.readiness }}
{{- if .enabled }}
readinessProbe:
  {{- include "srvinit.probe" (list $ "/readyz" "ready" .) | trim | nindent 2 }}
{{- end }}
{{- end }}
{{- with $probes.liveness }}
{{- if .enabled }}
livenessProbe:
  {{- include "srvinit.probe" (list $ "/livez" "live" .) | trim | nindent 2 }}
  {{- /* Who is wedged needs no long farewell. Known from 1.25 on; older API servers refuse or drop it. */}}
  {{- if include "srvinit.atLeast" (list $ "1.25") }}
  terminationGracePeriodSeconds: {{ min (int64 .terminationGracePeriodSeconds) (int64 $.Values.terminationGracePeriodSeconds) 30 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The container of the program; the pods of `helm test` have the same one. */}}
{{- define "srvinit.container" -}}
- name: {{ .Chart.Name }}
  image: {{ include "srvinit.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [{{ printf "%s/srvinit" .Values.srvinitPath | quote }}]
  args:
    - "--"
    {{- range .Values.command }}
    - {{ include "srvinit.scalar" . | quote }}
    {{- end }}
  env:
    - name: SRVINIT_CONFIG
      value: {{ include "srvinit.configFolder" . }}/srvinit.toml
    # terminationGracePeriodSeconds, less what is not srvinit's
    - name: SRVINIT_SHUTDOWN_GRACE_PERIOD
      value: "{{ div (include "srvinit.budgetMs" .) 1000 }}s"
    {{- with .Values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if or .Values.ports .Values.http.enabled }}
  ports:
    {{- range .Values.ports }}
    - name: {{ .name }}
      containerPort: {{ int64 .port }}
      protocol: {{ .protocol | default "TCP" }}
    {{- end }}
    {{- if .Values.http.enabled }}
    - name: srvinit
      containerPort: {{ int64 .Values.http.port }}
      protocol: TCP
    {{- end }}
  {{- end }}
  {{- with include "srvinit.probes" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .Values.lifecycle }}
  lifecycle:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # srvinit says there why it ended; what it could not say, its last lines do
  terminationMessagePolicy: FallbackToLogsOnError
  {{- with .Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: srvinit-config
      mountPath: {{ include "srvinit.configFolder" . }}
      readOnly: true
    {{- if .Values.inject.enabled }}
    - name: srvinit-program
      mountPath: /opt/srvinit
      readOnly: true
    {{- end }}
    {{- if .Values.tmp.enabled }}
    - name: srvinit-tmp
      mountPath: /tmp
    {{- end }}
    {{- with .Values.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "srvinit.volumes" -}}
- name: srvinit-config
  configMap:
    name: {{ include "srvinit.name" . }}
{{- if .Values.inject.enabled }}
- name: srvinit-program
  emptyDir: {}
{{- end }}
{{- if .Values.tmp.enabled }}
- name: srvinit-tmp
  emptyDir:
    {{- with .Values.tmp.medium }}
    medium: {{ . }}
    {{- end }}
    {{- with .Values.tmp.sizeLimit }}
    sizeLimit: {{ include "srvinit.scalar" . | quote }}
    {{- end }}
{{- end }}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "srvinit.initContainers" -}}
{{- if .Values.inject.enabled }}
- name: srvinit-inject
  image: {{ .Values.inject.image | default (printf "srvinit:%s" .Chart.AppVersion) | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [/opt/srvinit/srvinitctl, install, /srvinit-program]
  {{- with .Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: srvinit-program
      mountPath: /srvinit-program
{{- end }}
{{- with .Values.initContainers }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What a pod has beside its containers, volumes and life: shared with the pods of `helm test`. */}}
{{- define "srvinit.placement" -}}
serviceAccountName: {{ include "srvinit.serviceAccountName" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automount }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "srvinit.podTemplate" -}}
metadata:
  labels:
    {{- include "srvinit.workerLabels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ .Chart.Name }}
    {{- /* What no recycle can change changes the pod, and so rolls it out. */}}
    {{- if .Values.config.watch }}
    srvinit/bind-mode: {{ dig "bind" "mode" "shared" .Values.settings }}
    {{- else }}
    srvinit/settings: {{ include "srvinit.settings" . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  terminationGracePeriodSeconds: {{ int64 .Values.terminationGracePeriodSeconds }}
  {{- include "srvinit.placement" . | nindent 2 }}
  # A Service of the name srvinit would put SRVINIT_... variables into every pod
  enableServiceLinks: false
  {{- if .Values.shareProcessNamespace }}
  shareProcessNamespace: true
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    {{- $selector := dict "labelSelector" (dict "matchLabels" (include "srvinit.selectorLabels" $ | fromYaml)) }}
    - {{- toYaml (merge (deepCopy .) $selector) | nindent 6 }}
    {{- end }}
  {{- end }}
  {{- with include "srvinit.initContainers" . | trim }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    {{- include "srvinit.container" . | nindent 4 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "srvinit.volumes" . | nindent 4 }}
{{- end -}}
