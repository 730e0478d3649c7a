"""The gateway's metrics: base units, closed label sets, never an account or an address."""

from mailboat_common.metrics import counter, gauge, histogram

command_duration = histogram(
    "imap_command_duration_seconds", "Time from a whole command to its tagged reply", ("command", "result")
)
idle_sessions = gauge("imap_idle_sessions", "Sessions in IDLE")
notify_delay = histogram("imap_notify_delay_seconds", "From the commit to the untagged responses of watching sessions")
views = gauge("imap_views", "Mailboxes held in memory")
announcements = counter(
    "imap_announcements_total", "Messages whose trace was to learn that clients were told of them", ("result",)
)
