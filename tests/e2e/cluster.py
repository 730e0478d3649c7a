"""helm and kubectl, as a person would call them, and what they say of one installation.

The programs are found on the PATH or in the environment; the cluster is kubectl's current context, or KUBE_CONTEXT.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.support.chart import CHART, Document, program

ERRORS = ("error", "critical")
POLL_SECONDS = 0.3
T = TypeVar("T")


class Failed(Exception):
    """A step went wrong; the text is for the person who reads the report."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One namespace of a cluster, and one release in it."""

    namespace: str
    release: str
    context: str | None = None
    chart: Path = CHART
    helm_arguments: tuple[str, ...] = ()
    say: Callable[[str], None] = print

    @property
    def fullname(self) -> str:
        """What the chart's objects are called."""
        return self.release if "mailboat" in self.release else f"{self.release}-mailboat"

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, seconds: float = 300) -> str:
        """kubectl's output. Raises Failed with its words."""
        return self._run(self.kubectl_command(*arguments), stdin, check, seconds)

    def kubectl_command(self, *arguments: str) -> list[str]:
        """kubectl in this cluster and namespace."""
        where = ["--context", self.context] if self.context else []
        return [program("kubectl"), *where, "-n", self.namespace, *arguments]

    def helm(self, command: str, *arguments: str, seconds: float = 600) -> str:
        """helm's output. Raises Failed with its words."""
        where = ["--kube-context", self.context] if self.context else []
        return self._run([program("helm"), command, *where, "-n", self.namespace, *arguments], None, True, seconds)

    def chart_command(self, command: str, *arguments: str) -> str:
        """`helm install`, `upgrade` or `template` of the chart."""
        given = (*self.helm_arguments, *arguments)
        return self.helm(command, self.release, str(self.chart), *given)

    def _run(self, command: list[str], stdin: str | None, check: bool, seconds: float) -> str:
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False, env=environment()
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{' '.join(command[:8])} ... did not end within {seconds:.0f} s") from error
        if check and done.returncode != 0:
            raise Failed(
                f"{' '.join(command[:8])} ... ended with {done.returncode}:\n{done.stdout}{done.stderr}".strip()
            )
        return done.stdout

    def items(self, kinds: str, selector: str = "") -> list[Document]:
        """Objects of the release."""
        chosen = f"app.kubernetes.io/instance={self.release}" + (f",{selector}" if selector else "")
        items: list[Document] = json.loads(self.kubectl("get", kinds, "-l", chosen, "-o", "json"))["items"]
        return items

    def pods(self) -> list[Document]:
        """The release's pods that aren't being deleted, without the test's."""
        return [
            pod
            for pod in self.items("pods", "app.kubernetes.io/component!=smoke")
            if "deletionTimestamp" not in pod["metadata"]
        ]

    def secrets(self) -> dict[str, dict[str, str]]:
        """The release's Secrets' data."""
        return {item["metadata"]["name"]: item["data"] for item in self.items("secrets")}

    def secret_text(self, name: str, key: str) -> str:
        """One value of a Secret, as the chart's notes tell a person to get it."""
        return self.kubectl("get", "secret", name, "-o", f'go-template={{{{index .data "{key}" | base64decode}}}}')

    def errors_logged(self, pod: Document) -> list[str]:
        """What a pod of ours logged as an error: a bug, or something that an operator should look at."""
        if component_of(pod) in ("mongodb", "rabbitmq"):
            return []
        lines = self.kubectl("logs", name_of(pod), "--tail=-1").splitlines()
        return [f"{name_of(pod)}: {line[:2000]}" for line in lines if json.loads(line).get("level") in ERRORS]

    def mailboatctl(self, *arguments: str, stdin: str | None = None) -> str:
        """The operators' command line, where the API is."""
        api = f"deploy/{self.fullname}-storage-api"
        return self.kubectl("exec", "-i", api, "-c", "storage-api", "--", "mailboatctl", *arguments, stdin=stdin)


def wait_until(found: Callable[[], T | None], seconds: float, complaint: Callable[[], str]) -> T:
    """What `found` finds, asked again and again: nothing in a cluster could wake us. Raises Failed with the complaint."""
    deadline = time.monotonic() + seconds
    while not (result := found()):
        if time.monotonic() > deadline:
            raise Failed(f"{complaint()} (after {seconds:.0f} s)")
        time.sleep(POLL_SECONDS)
    return result


def name_of(item: Document) -> str:
    """An object's name."""
    return str(item["metadata"]["name"])


def component_of(item: Document) -> str:
    """A pod's component."""
    return str(item["metadata"]["labels"]["app.kubernetes.io/component"])


def is_ready(pod: Document) -> bool:
    """Whether all of a pod's containers are."""
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod["status"].get("conditions", ())
    )


def restarts(pod: Document) -> int:
    """How often containers of a pod were started again."""
    return sum(status["restartCount"] for status in pod["status"].get("containerStatuses", ()))


def environment() -> dict[str, str]:
    """What helm and kubectl are given: everything but our own settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MB_")}
