"""A real API server knows every field of what the chart renders. Nothing is created: it is a dry run.

    KUBE_CONTEXT=kind-mail make test ARGS=tests/chart

Only with KUBE_CONTEXT: whichever cluster kubectl happens to point at is nobody's business here.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.chart import VALUES_FILES, program, text_of


def dry_run(manifest: str) -> subprocess.CompletedProcess[str]:
    """What the server says of a manifest, strictly."""
    asked = ["apply", "--namespace", "default", "--dry-run=server", "--validate=strict", "-f", "-"]
    command = [program("kubectl"), "--context", os.environ["KUBE_CONTEXT"], *asked]
    return subprocess.run(command, input=manifest, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("values", VALUES_FILES, ids=lambda path: path.name)
def test_the_server_takes_every_document(values: Path) -> None:
    manifest = text_of(values=values, namespace="default")
    done = dry_run(manifest)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("(server dry run)") == manifest.count("\nkind: ")
    assert "Warning" not in done.stderr


def test_the_server_would_refuse_a_slip() -> None:
    done = dry_run(text_of(namespace="default").replace("restartPolicy:", "restartPolice:"))
    assert done.returncode != 0
    assert "restartPolice" in done.stderr
