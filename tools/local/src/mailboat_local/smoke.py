"""What ``mailboatctl smoke`` is told to test the stack of this machine: its first replicas, and everybody's metrics."""

from __future__ import annotations

from mailboatctl.commands.smoke import trusting
from mailboatctl.smoke.endpoint import Endpoint
from mailboatctl.smoke.steps import Targets

from mailboat_local.stack import Stack

GATEWAYS = ("smtp_ingress", "imap_gateway", "pop3_gateway")


def targets(stack: Stack) -> Targets:
    """The listeners and metrics of a running stack."""
    smtp, imap, pop3 = (stack.ports(f"{name}-1") for name in GATEWAYS)
    return Targets(
        smtp=Endpoint("localhost", smtp["smtp"]),
        submission=Endpoint("localhost", smtp["submission"]),
        imaps=Endpoint("localhost", imap["imaps"]),
        pop3s=Endpoint("localhost", pop3["pop3s"]),
        metrics=tuple(
            f"http://127.0.0.1:{stack.ports(name)['admin']}/metrics"
            for name in stack.names
            if name.rpartition("-")[0] in GATEWAYS
        ),
        tls=trusting(stack.layout.ca),
    )
