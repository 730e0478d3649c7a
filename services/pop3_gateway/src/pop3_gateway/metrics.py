"""The POP3 gateway's own metrics (the edge's common ones are in mailboat_common.metrics)."""

from mailboat_common import metrics

command_duration = metrics.histogram("pop3_command_duration_seconds", "Time to answer a command", ("command", "result"))
