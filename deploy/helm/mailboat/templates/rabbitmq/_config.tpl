{{- define "mailboat.rabbitmq.config" -}}
enabled_plugins: |
  [rabbitmq_prometheus].
rabbitmq.conf: |
  listeners.tcp.default = 5672
  prometheus.tcp.port = 15692
  load_definitions = /run/mailboat/rabbitmq/definitions.json
  log.console = true
  log.console.level = info
  log.file = false
  disk_free_limit.absolute = 200MB
  raft.wal_max_size_bytes = 64000000
{{- end -}}
