{{/* The only credentials of MongoDB that a service has. */}}
{{- define "mailboat.mongodb-uri" -}}
- name: MB_MONGODB_URI
  valueFrom:
    secretKeyRef: {name: {{ include "mailboat.fullname" . }}-mongodb, key: uri}
{{- end -}}

{{/* The role `api`. MB_API_* are the command line's, for `kubectl exec ... -- mailboatctl`. */}}
{{- define "mailboat.storage-api.env" -}}
- name: MB_ROLE
  value: api
{{ include "mailboat.port-settings" (dict "rest" 8080 "internal" 8081) | trim }}
- name: MB_INTERNAL_TOKEN_FILE
  value: /run/mailboat/internal/callers.json
- name: MB_BOOTSTRAP_TOKEN_FILE
  value: /run/mailboat/api/token
- name: MB_API_URL
  value: http://localhost:8080
- name: MB_API_TOKEN_FILE
  value: /run/mailboat/api/token
{{ include "mailboat.mongodb-uri" . }}
{{- end -}}

{{- define "mailboat.storage-api.mounts" -}}
- {name: internal, mountPath: /run/mailboat/internal, readOnly: true}
- {name: api, mountPath: /run/mailboat/api, readOnly: true}
{{- end -}}

{{- define "mailboat.storage-api.volumes" -}}
- name: internal
  secret:
    secretName: {{ include "mailboat.fullname" . }}-internal
    defaultMode: 0440
    items: [{key: callers.json, path: callers.json}]
- name: api
  secret:
    secretName: {{ include "mailboat.fullname" . }}-api
    defaultMode: 0440
{{- end -}}
