"""The load pod: tests/faults inside the cluster, started, watched, stopped, and its verdict read."""

from __future__ import annotations

import json
import secrets
from typing import Any

from tests.e2e.cluster import Cluster, Failed, wait_until
from tests.support.chart import Document
from tests.support.documents import ROOT

NAME = "e2e-load"
DOMAIN = "e2e.test"
ACCOUNTS = 4
PARTS = ("auditor", "clients", "compose", "load", "mailbox_user", "maildrop_user")
MODULES = (*(f"faults/{name}.py" for name in PARTS), "e2e/pod.py")
STOP_FILE = "/work/stop"
VERDICT_SECONDS = 240


class LoadPod:
    """One run of the load; `start` first, `stop` gives the verdict."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._seed = seed
        self.errors: list[str] = []  # what the platform's pods logged meanwhile, those that are gone included
        self.accounts = [
            {"address": f"user{n}@{DOMAIN}", "password": secrets.token_urlsafe(12)} for n in range(1, ACCOUNTS + 1)
        ]

    def start(self) -> None:
        """Accounts and pod; returns once the first messages are acknowledged."""
        self._cluster.mailboatctl("domain", "add", DOMAIN)
        rows = [f"{account['address']},{account['password']},2G" for account in self.accounts]
        self._cluster.mailboatctl("account", "import", "-", stdin="\n".join(["address,password,quota", *rows]) + "\n")
        document = {"apiVersion": "v1", "kind": "List", "items": self._documents()}
        self._cluster.kubectl("apply", "-f", "-", stdin=json.dumps(document))
        self.wait_for_more(20, seconds=90)

    def status(self) -> dict[str, Any]:
        """The load's latest figures; empty before the first."""
        return self._last("status") or {}

    def wait_for_more(self, messages: int, seconds: float = 60) -> None:
        """Until that many more messages are acknowledged. Raises Failed."""
        wanted = self.status().get("acknowledged", 0) + messages
        wait_until(
            lambda: self.status().get("acknowledged", 0) >= wanted,
            seconds,
            lambda: f"The load has stopped flowing: {self.status()}\n{self._log(20)}",
        )

    def stop(self) -> dict[str, Any]:
        """Ends the load; what the judge says. Raises Failed if it says nothing."""
        self._cluster.kubectl("exec", NAME, "--", "touch", STOP_FILE)
        wait_until(
            lambda: (
                self._cluster.kubectl("get", "pod", NAME, "-o", "jsonpath={.status.phase}") in ("Succeeded", "Failed")
            ),
            VERDICT_SECONDS,
            lambda: f"No verdict:\n{self._log(20)}",
        )
        verdict = self._last("verdict")
        if verdict is None:
            raise Failed(f"The load ended without a verdict:\n{self._log(40)}")
        return verdict

    def _log(self, lines: int) -> str:
        return self._cluster.kubectl("logs", NAME, f"--tail={lines}", check=False)

    def _last(self, kind: str) -> dict[str, Any] | None:
        for line in reversed(self._log(3).splitlines()):
            if line.startswith("{"):
                found: dict[str, Any] | None = json.loads(line).get(kind)
                if found is not None:
                    return found
        return None

    def _documents(self) -> list[Document]:
        """The program as a ConfigMap, the passwords as a Secret, and the pod: with the image and the restrictions of
        storage_api's."""
        labels = {"app.kubernetes.io/name": NAME}
        files = {module.replace("/", "."): (ROOT / "tests" / module).read_text() for module in MODULES}
        items = [{"key": module.replace("/", "."), "path": f"tests/{module}"} for module in MODULES]
        fullname = self._cluster.fullname
        deployed = json.loads(self._cluster.kubectl("get", f"deploy/{fullname}-storage-api", "-o", "json"))
        model = deployed["spec"]["template"]["spec"]
        (first,) = model["containers"]
        environment = {
            "PYTHONPATH": "/load",
            "SMTP": f"{fullname}-smtp:25",
            "IMAPS": f"{fullname}-imap:993",
            "CA_FILE": "/run/tls/ca.crt",
            "ACCOUNTS_FILE": "/run/accounts/accounts.json",
            "SEED": str(self._seed),
            "STOP_FILE": STOP_FILE,
        }
        volumes: dict[str, tuple[str, Document]] = {
            "load": ("/load", {"configMap": {"name": NAME, "items": items}}),
            "accounts": ("/run/accounts", {"secret": {"secretName": NAME}}),
            "tls": (
                "/run/tls",
                {"secret": {"secretName": f"{fullname}-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            ),
            "work": ("/work", {"emptyDir": {}}),
        }
        container = {
            "name": "load",
            "image": first["image"],
            "imagePullPolicy": first["imagePullPolicy"],
            "command": ["python", "-m", "tests.e2e.pod"],
            "env": [{"name": name, "value": value} for name, value in environment.items()],
            "securityContext": first["securityContext"],
            "volumeMounts": [{"name": name, "mountPath": path} for name, (path, _) in volumes.items()],
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": model["securityContext"],
            "imagePullSecrets": model.get("imagePullSecrets", []),
            "containers": [container],
            "volumes": [{"name": name, **source} for name, (_, source) in volumes.items()],
        }
        head = {"name": NAME, "labels": labels}
        return [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": files},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": head,
                "stringData": {"accounts.json": json.dumps(self.accounts)},
            },
            {"apiVersion": "v1", "kind": "Pod", "metadata": head, "spec": spec},
        ]
