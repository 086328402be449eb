{{- define "halflight.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "halflight.selector" -}}
app.kubernetes.io/name: halflight
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "halflight.labels" -}}
{{ include "halflight.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "halflight.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What cannot work is refused with a sentence, before anything is installed. */}}
{{- define "halflight.check" -}}
{{- if eq .Values.database.kind "sqlite" }}
  {{- if gt (int .Values.replicas) 1 }}{{ fail "replicas: SQLite takes one replica; set database.kind to postgresql for several" }}{{ end }}
  {{- if .Values.autoscaling.enabled }}{{ fail "autoscaling: SQLite takes one replica; set database.kind to postgresql" }}{{ end }}
  {{- if not .Values.persistence.enabled }}{{ fail "persistence: without a volume the SQLite database would go with the pod" }}{{ end }}
{{- else }}
  {{- if not .Values.secret }}{{ fail "secret: postgresql needs a Secret with database_url, master_key and audit_key" }}{{ end }}
  {{- if and .Values.persistence.enabled (ne .Values.persistence.accessMode "ReadWriteMany") (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) }}
    {{- fail "persistence: several replicas need accessMode ReadWriteMany, or persistence.enabled false with settings.bundle_url" }}
  {{- end }}
{{- end }}
{{- if and (gt (int .Values.workers) 1) .Values.settings.doors_file }}
  {{- fail "workers: a door counts the frames of one process; with settings.doors_file leave workers at 1" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.min) (int .Values.autoscaling.max)) }}
  {{- fail "autoscaling: min is larger than max" }}
{{- end }}
{{- if .Values.ingress.enabled }}
  {{- if not .Values.ingress.host }}{{ fail "ingress: set host" }}{{ end }}
  {{- if not .Values.ingress.tlsSecret }}{{ fail "ingress: set tlsSecret; keys and photos do not travel in clear" }}{{ end }}
  {{- if not .Values.trustedProxies }}{{ fail "trustedProxies: name the ingress controller's addresses, or all clients count as one" }}{{ end }}
{{- end }}
{{- end }}

{{- define "halflight.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "halflight.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "halflight.environment" -}}
# ONNX Runtime writes nothing about this machine anywhere.
- {name: ORT_DISABLE_TELEMETRY, value: "1"}
- {name: HALFLIGHT_WORKERS, value: {{ .Values.workers | toString | quote }}}
{{- if .Values.secret }}
- {name: HALFLIGHT_SECRETS_DIR, value: /run/secrets/halflight}
{{- end }}
{{- if .Values.trustedProxies }}
- {name: HALFLIGHT_TRUSTED_PROXIES, value: {{ join "," .Values.trustedProxies | quote }}}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: HALFLIGHT_{{ upper $name }}, value: {{ if kindIs "string" $value }}{{ $value | quote }}{{ else }}{{ $value | toJson | quote }}{{ end }}}
{{- end }}
{{- end }}

{{- define "halflight.mounts" -}}
- {name: data, mountPath: /data}
- {name: tmp, mountPath: /tmp}
{{- if .Values.secret }}
- {name: secret, mountPath: /run/secrets/halflight, readOnly: true}
{{- end }}
{{- end }}

{{/* `lasting`: whether the data outlive the pod. */}}
{{- define "halflight.volumes" -}}
{{- $root := .root }}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if .lasting }}
- name: data
  persistentVolumeClaim:
    claimName: {{ $root.Values.persistence.existingClaim | default (include "halflight.name" $root) }}
{{- else }}
- name: data
  emptyDir: {}
{{- end }}
{{- if $root.Values.secret }}
- name: secret
  secret:
    secretName: {{ $root.Values.secret }}
    defaultMode: 0440
{{- end }}
{{- end }}
