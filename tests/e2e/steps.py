"""What `make e2e-cluster` does, step by step; each raises Failed, or returns facts for the report."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.e2e.cluster import Cluster, Failed, component_of, environment, is_ready, name_of, restarts, wait_until
from tests.e2e.forward import forward
from tests.e2e.load import DOMAIN, LoadPod

Facts = dict[str, Any]
READY_SECONDS = 240
BEFORE_THE_NEXT = 40  # messages that must flow between two disturbances
FORWARDS = {"smtp": 25, "submission": 587, "imap": 993, "pop3": 995, "api": 8080}


def namespace(cluster: Cluster) -> Facts:
    """A namespace of its own, in which Kubernetes enforces Pod Security "restricted"."""
    label = "pod-security.kubernetes.io/enforce"
    head = {"name": cluster.namespace, "labels": {label: "restricted", f"{label}-version": "latest"}}
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": head}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(document))
    version = json.loads(cluster.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    return {"kubernetes": version, "pod_security": "restricted"}


def validate(cluster: Cluster) -> Facts:
    """The API server knows every field (helm install alone would only warn)."""
    manifest = cluster.chart_command("template")
    said = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=manifest)
    objects = said.count("(server dry run)")
    if objects != manifest.count("\nkind: "):
        raise Failed(said)
    return {"objects": objects}


def install(cluster: Cluster) -> Facts:
    """helm install --wait, and everything is ready without a restart."""
    said = cluster.chart_command("install", "--wait", "--timeout", "8m")
    cluster.say(said.partition("\nNOTES:")[0])
    pods = cluster.pods()
    again = {name_of(pod): restarts(pod) for pod in pods if restarts(pod)}
    if again or not all(map(is_ready, pods)):
        raise Failed(f"after the installation: restarts {again}\n{cluster.kubectl('get', 'pods')}")
    claims = {name_of(claim): claim["spec"]["resources"]["requests"]["storage"] for claim in cluster.items("pvc")}
    return {"pods": len(pods), "restarts": 0, "volumes": claims}


def helm_test(cluster: Cluster) -> Facts:
    """helm test: mail goes through."""
    said = cluster.helm("test", cluster.release, "--logs")
    return _smoked(cluster, [line for line in said.splitlines() if line.startswith("{")], said)


def smoke_from_outside(cluster: Cluster) -> Facts:
    """mailboatctl smoke on this machine, through kubectl port-forward, as the notes tell an operator."""
    authority = cluster.secret_text(f"{cluster.fullname}-tls", "ca.crt")
    token = cluster.secret_text(f"{cluster.fullname}-api", "token")
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(forward(cluster, name, port)) for name, port in FORWARDS.items()}
        ca_file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "ca.crt"
        ca_file.write_text(authority)
        command = [
            *(str(Path(sys.executable).parent / "mailboatctl"), "smoke", "--ca-file", str(ca_file)),
            *(f"--smtp=localhost:{ports['smtp']}", f"--submission=localhost:{ports['submission']}"),
            *(f"--imaps=localhost:{ports['imap']}", f"--pop3s=localhost:{ports['pop3']}"),
        ]
        given = environment() | {"MB_API_URL": f"http://localhost:{ports['api']}", "MB_API_TOKEN": token}
        done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode:
        raise Failed(f"mailboatctl smoke ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return _smoked(cluster, done.stdout.splitlines(), done.stderr)


def _smoked(cluster: Cluster, lines: list[str], said: str) -> Facts:
    steps = [json.loads(line) for line in lines]
    for line in lines:
        cluster.say(line)
    failed = [step["step"] for step in steps if "error" in step]  # what nobody asked for is no failure
    if len(steps) < 10 or failed:
        raise Failed(f"failed: {failed or 'too few steps'}\n{said}")
    return {"steps": len(steps)}


def load(cluster: Cluster, running: LoadPod) -> Facts:
    """Mail flows from a pod: senders, users that flag and expunge, watchers in IDLE."""
    running.start()
    return running.status()


def upgrade(cluster: Cluster, running: LoadPod) -> Facts:
    """helm upgrade that rolls every service, while mail flows; what was generated stays."""
    running.errors += [line for pod in cluster.pods() for line in cluster.errors_logged(pod)]
    before, secrets = {name_of(pod) for pod in cluster.pods()}, cluster.secrets()
    cluster.chart_command(
        "upgrade", "--wait", "--timeout", "8m", "--set-string", f"podAnnotations.rolled={time.time():.0f}"
    )
    after = cluster.pods()
    left = {component_of(pod) for pod in after if name_of(pod) in before}
    if left != {"mongodb", "rabbitmq"}:
        raise Failed(f"only MongoDB and RabbitMQ should have stayed as they were, not {sorted(left)}")
    if cluster.secrets() != secrets:
        changed = [name for name, data in cluster.secrets().items() if data != secrets.get(name)]
        raise Failed(f"the upgrade changed Secrets: {changed}")
    running.wait_for_more(BEFORE_THE_NEXT)
    return {"rolled": len(after) - len(left), "secrets_unchanged": len(secrets)}


def upgrade_without_change(cluster: Cluster) -> Facts:
    """The same once more: no pod is touched."""
    before = {name_of(pod) for pod in cluster.pods()}
    cluster.chart_command("upgrade", "--wait", "--reuse-values")
    after = {name_of(pod) for pod in cluster.pods()}
    if before != after:
        raise Failed(f"an upgrade that changes nothing replaced {before - after}")
    return {"pods": len(after)}


def delete_pod(cluster: Cluster, running: LoadPod, component: str) -> Facts:
    """kubectl delete pod, while mail flows; ready again means the replacement is, and that mail goes on."""
    (victim,) = [pod for pod in cluster.pods() if component_of(pod) == component]
    uid = victim["metadata"]["uid"]
    running.errors += cluster.errors_logged(victim)
    began = time.monotonic()
    cluster.kubectl("delete", "pod", name_of(victim), "--wait=false")

    def replaced() -> bool:
        pods = [pod for pod in cluster.pods() if component_of(pod) == component]
        return len(pods) == 1 and pods[0]["metadata"]["uid"] != uid and is_ready(pods[0])

    wait_until(replaced, READY_SECONDS, lambda: f"{component} is not back\n{cluster.kubectl('get', 'pods')}")
    ready = time.monotonic() - began
    running.wait_for_more(BEFORE_THE_NEXT)
    return {"ready_seconds": round(ready, 1)}


def verdict(cluster: Cluster, running: LoadPod) -> Facts:
    """The judge of tests/faults and mailboatctl audit: nothing lost, double, stuck or out of order; and no service has
    logged an error."""
    facts = running.stop()
    findings = facts["findings"]
    audited = [json.loads(line) for line in cluster.mailboatctl("audit", "--json").splitlines()]
    running.errors += [line for pod in cluster.pods() for line in cluster.errors_logged(pod)]
    if running.errors:
        raise Failed("logged as errors:\n" + "\n".join(running.errors))
    if findings or "summary" not in audited[-1] or len(audited) != 1:
        raise Failed(f"judge: {findings}\naudit: {audited}")
    return facts | {"errors_logged": 0, "audit": audited[-1]["summary"]}


def mail_is_there(cluster: Cluster, expected: dict[str, int] | None = None) -> dict[str, int]:
    """How many messages each account of the load has; Failed if it isn't what is expected."""
    accounts = json.loads(cluster.mailboatctl("account", "list", "--domain", DOMAIN, "--json"))
    counts = {account["address"]: account["messages"] for account in accounts}
    if expected is not None and counts != expected:
        raise Failed(f"accounts had {expected} and have {counts}")
    return counts


def uninstall(cluster: Cluster) -> Facts:
    """helm uninstall leaves the volumes, the Secret that belongs to MongoDB's, and the ended pod of helm test."""
    cluster.helm("uninstall", cluster.release, "--wait")
    without_smoke = "app.kubernetes.io/component!=smoke"
    wait_until(
        lambda: not cluster.items("pods", without_smoke),
        READY_SECONDS,
        lambda: f"pods stay: {[name_of(pod) for pod in cluster.items('pods', without_smoke)]}",
    )
    kinds = "pods,secrets,configmaps,services,deployments,statefulsets,replicasets,jobs,pvc"
    kept = sorted(f"{item['kind']}/{name_of(item)}" for item in cluster.items(kinds))
    name = cluster.fullname
    volumes = [f"PersistentVolumeClaim/data-{name}-{server}-0" for server in ("mongodb", "rabbitmq")]
    if kept != [*volumes, f"Pod/{name}-smoke", f"Secret/{name}-mongodb"]:
        raise Failed(f"left behind: {kept}")
    return {"kept": kept}


def reinstall(cluster: Cluster, expected: dict[str, int]) -> Facts:
    """A new installation of the same name finds the mail that the one before has left."""
    install(cluster)
    return {"messages": sum(mail_is_there(cluster, expected).values())}


def remove(cluster: Cluster) -> Facts:
    """The namespace, with volumes and Secrets."""
    cluster.kubectl("delete", "namespace", cluster.namespace, "--wait", "--timeout=240s")
    return {}
