{{/*
Names and labels. A full name has at most 36 characters, so that what is appended stays below the 63 of a DNS label; of a
longer one the end is replaced by a hash: two long names that begin alike stay two.
*/}}
{{- define "mailboat.fullname" -}}
{{- $name := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- if gt (len $name) 36 -}}
{{- printf "%s-%s" ($name | trunc 27 | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{/* What finds the pods of one component: (dict "root" $ "component" "imap-gateway"). */}}
{{- define "mailboat.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* All labels of an object of one component. */}}
{{- define "mailboat.labels" -}}
{{ include "mailboat.selector" . }}
app.kubernetes.io/part-of: mailboat
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* The image of a service: (dict "root" $ "service" "imap-gateway"). */}}
{{- define "mailboat.image" -}}
{{ .root.Values.image.repository }}/{{ .service }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}
