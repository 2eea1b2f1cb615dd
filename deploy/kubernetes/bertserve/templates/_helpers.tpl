{{/* What the release's objects are called. */}}
{{- define "bertserve.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels by which pods are selected, of the component that is given: (list . "replica"). */}}
{{- define "bertserve.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels, of the component that is given. */}}
{{- define "bertserve.labels" -}}
{{- $root := index . 0 -}}
{{ include "bertserve.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "bertserve.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}{{ if .Values.gpu.count }}{{ .Values.gpu.tagSuffix }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "bertserve.gatewayImage" -}}
{{- with .Values.gateway.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "bertserve.tokensSecret" -}}
{{- if and .Values.tokens.secret .Values.tokens.inline -}}
{{- fail "tokens.secret and tokens.inline are both set: keep one of them" -}}
{{- else if .Values.tokens.secret -}}
{{ .Values.tokens.secret }}
{{- else if .Values.tokens.inline -}}
{{ include "bertserve.name" . }}-tokens
{{- else -}}
{{- fail "nobody may call: set tokens.secret to the name of a Secret that holds a token for each caller" -}}
{{- end -}}
{{- end -}}

{{/* The most replicas there can be at a time, those that come and go included. */}}
{{- define "bertserve.mostReplicas" -}}
{{- $most := ternary .Values.replicas .Values.autoscaling.max (eq .Values.autoscaling.kind "none") -}}
{{ add (mul 2 $most) 2 }}
{{- end -}}

{{/* No root, no privilege, and a file system that cannot be written. */}}
{{- define "bertserve.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "bertserve.pod" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "bertserve.pullSecrets" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "bertserve.spread" -}}
topologySpreadConstraints:
{{- $root := index . 0 }}
{{- range $root.Values.spread }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels: {{- include "bertserve.selector" $ | nindent 8 }}
{{- end }}
{{- end -}}
