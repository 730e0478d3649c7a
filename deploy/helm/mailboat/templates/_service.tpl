{{/*
The Deployment of one of the five services.

root        $
component   imap-gateway; names the object and its pods' label
image       the image's service, if it is another than the component
values      the component's values
caller      its name among storage_api's callers, if it is one: it gets its token and storage_api's address
tls         true: it gets the certificate
amqp        true: it gets RabbitMQ's address
ports       name -> port of the container
env         further environment, a list in YAML
volumes     further volumes, a list in YAML
mounts      their mounts, a list in YAML
*/}}
{{- define "mailboat.deployment" -}}
{{- $fullname := include "mailboat.fullname" .root -}}
{{- $settings := .root.Values -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $fullname }}-{{ .component }}
  labels:
    {{- include "mailboat.labels" . | nindent 4 }}
spec:
  replicas: {{ .values.replicas }}
  revisionHistoryLimit: 3
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  selector:
    matchLabels:
      {{- include "mailboat.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "mailboat.labels" . | nindent 8 }}
        mailboat/metrics: admin
      {{- with $settings.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "mailboat.pod" (dict "root" .root "user" 10001) | nindent 6 }}
      # preStop and drain, and a margin for what is cut off then
      terminationGracePeriodSeconds: {{ add $settings.preStopSeconds .values.drainSeconds 15 }}
      containers:
        - name: {{ .component }}
          image: {{ include "mailboat.image" (dict "root" .root "service" (.image | default .component)) }}
          imagePullPolicy: {{ $settings.image.pullPolicy }}
          {{- include "mailboat.container" . | nindent 10 }}
          {{- if $settings.preStopSeconds }}
          lifecycle:
            preStop:
              sleep: {seconds: {{ $settings.preStopSeconds }}}
          {{- end }}
          env:
            {{- $env := include "mailboat.env" . }}
            {{- $env | nindent 12 }}
            {{- range $name, $value := .values.settings }}
            {{- if contains (printf "name: %s\n" $name) (printf "%s\n" $env) }}
            {{- fail (printf "settings of %s: %s is set by the chart itself" $.component $name) }}
            {{- end }}
            - name: {{ $name }}
              value: {{ kindIs "string" $value | ternary $value ($value | toJson) | quote }}
            {{- end }}
          ports:
            {{- range $name, $port := .ports }}
            - name: {{ $name }}
              containerPort: {{ $port }}
            {{- end }}
            - name: admin
              containerPort: 9100
          {{- include "mailboat.probes" . | nindent 10 }}
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          {{- if or .caller .tls .mounts }}
          volumeMounts:
            {{- if .caller }}
            - {name: internal, mountPath: /run/mailboat/internal, readOnly: true}
            {{- end }}
            {{- if .tls }}
            - {name: tls, mountPath: /run/mailboat/tls, readOnly: true}
            {{- end }}
            {{- with .mounts }}
            {{- . | nindent 12 }}
            {{- end }}
          {{- end }}
      {{- if or .caller .tls .volumes }}
      volumes:
        {{- if .caller }}
        - name: internal
          secret:
            secretName: {{ $fullname }}-internal
            defaultMode: 0440
            items: [{key: {{ .caller }}, path: token}]
        {{- end }}
        {{- if .tls }}
        - name: tls
          secret:
            secretName: {{ $fullname }}-tls
            defaultMode: 0440
            items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
        {{- end }}
        {{- with .volumes }}
        {{- . | nindent 8 }}
        {{- end }}
      {{- end }}
{{- end -}}

{{/* The environment that the chart itself gives a service; the arguments are mailboat.deployment's. */}}
{{- define "mailboat.env" -}}
{{- $fullname := include "mailboat.fullname" .root -}}
{{- $settings := .root.Values -}}
- name: MB_HOSTNAME
  value: {{ $settings.hostname | quote }}
- name: MB_ADMIN_PORT
  value: "9100"
- name: MB_DRAIN_SECONDS
  value: {{ .values.drainSeconds | quote }}
- name: MB_LOG_LEVEL
  value: {{ $settings.logLevel }}
{{- if .caller }}
- name: MB_STORAGE_URL
  value: http://{{ $fullname }}-storage-internal:8081
- name: MB_INTERNAL_TOKEN_FILE
  value: /run/mailboat/internal/token
{{- end }}
{{- if .tls }}
- name: MB_TLS_DIR
  value: /run/mailboat/tls
{{- end }}
{{- if .amqp }}
- name: MB_AMQP_URL
  valueFrom:
    secretKeyRef: {name: {{ $fullname }}-rabbitmq, key: url}
{{- end }}
{{- with .env }}
{{- . | nindent 0 }}
{{- end }}
{{- end -}}

{{/*
A Service of one protocol: (dict "root" $ "name" "imap" "component" "imap-gateway" "values" ... "ports" (dict "imap" 143)).
A port's name is that of the container's port.
*/}}
{{- define "mailboat.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "mailboat.fullname" .root }}-{{ .name }}
  labels:
    {{- include "mailboat.labels" . | nindent 4 }}
  {{- with .values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .values.type }}
  ipFamilyPolicy: PreferDualStack
  {{- if ne .values.type "ClusterIP" }}
  # Limits and logs are by client address: it must be the true one.
  externalTrafficPolicy: Local
  {{- end }}
  selector:
    {{- include "mailboat.selector" . | nindent 4 }}
  ports:
    {{- range $name, $port := .ports }}
    - {name: {{ $name }}, port: {{ $port }}, targetPort: {{ $name }}}
    {{- end }}
{{- end -}}

{{/* The settings that say which ports are listened on: {"imap": 2143} is MB_IMAP_PORT. */}}
{{- define "mailboat.port-settings" -}}
{{- range $name, $port := . }}
- name: MB_{{ upper $name }}_PORT
  value: {{ $port | quote }}
{{- end }}
{{- end -}}
