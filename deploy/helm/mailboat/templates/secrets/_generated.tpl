{{/*
The data of a Secret as it is in the cluster (base64), or an empty dict: what was generated once survives upgrades.
(dict "root" $ "name" NAME). Where there is no cluster to ask (helm template, --dry-run=client) everything is generated
anew.
*/}}
{{- define "mailboat.kept" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .name | default dict -}}
{{- $found.data | default dict | toJson -}}
{{- end -}}

{{/* One kept value in clear text, or a new random one: (dict "kept" DICT "key" KEY "length" 40). */}}
{{- define "mailboat.secret" -}}
{{- if hasKey .kept .key -}}
{{- index .kept .key | b64dec -}}
{{- else -}}
{{- randAlphaNum .length -}}
{{- end -}}
{{- end -}}
