"""kubectl port-forward for the time of a block."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator

from tests.e2e.cluster import Cluster, Failed, environment

LISTENING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@contextlib.contextmanager
def forward(cluster: Cluster, service: str, port: int) -> Iterator[int]:
    """A local port that leads to a Service's; it is chosen by the system. Raises Failed."""
    command = cluster.kubectl_command("port-forward", f"svc/{cluster.fullname}-{service}", f":{port}")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment())
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        found = LISTENING.match(first)
        if found is None:
            raise Failed(f"kubectl port-forward of {service} said: {first}")
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()
