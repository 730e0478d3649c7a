"""Pod Security "restricted" on every pod, and no more rights or secrets than each needs."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.chart import VALUES_FILES, Document, Manifest, Pod, render, text_of

RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(pod: Pod) -> list[str]:
    """What the Pod Security Standards' profile "restricted" (its controls of version 1.34, "baseline" included) would
    refuse in a pod."""
    found: list[str] = []
    spec, name = pod.spec, pod.owner
    found += [f"{name}: {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    whole = spec.get("securityContext", {})
    if whole.get("sysctls") or whole.get("seLinuxOptions") or whole.get("windowsOptions", {}).get("hostProcess"):
        found.append(f"{name}: sysctls, SELinux or host process options")
    for volume in spec.get("volumes", ()):
        if not (volume.keys() - {"name"}) <= RESTRICTED_VOLUMES:
            found.append(f"{name}: volume {volume}")
    for container in [*pod.containers, *spec.get("ephemeralContainers", ())]:
        where, own = f"{name}/{container['name']}", container.get("securityContext", {})
        capabilities = own.get("capabilities", {})
        if own.get("privileged"):
            found.append(f"{where}: privileged")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append(f"{where}: privilege escalation")
        if capabilities.get("drop") != ["ALL"] or not set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"}:
            found.append(f"{where}: capabilities")
        if own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True:
            found.append(f"{where}: root")
        if own.get("runAsUser", whole.get("runAsUser")) == 0:
            found.append(f"{where}: user 0")
        if own.get("seccompProfile", whole.get("seccompProfile", {})).get("type") not in (
            "RuntimeDefault",
            "Localhost",
        ):
            found.append(f"{where}: seccomp")
        if own.get("procMount", "Default") != "Default" or own.get("seLinuxOptions"):
            found.append(f"{where}: proc mount or SELinux options")
        if any("hostPort" in port for port in container.get("ports", ())):
            found.append(f"{where}: host port")
    return found


@pytest.mark.parametrize("values", VALUES_FILES, ids=lambda path: path.name)
def test_every_pod_is_restricted(values: Path) -> None:
    pods = list(render(values=values).pods())
    assert len(pods) == 9
    assert [fault for pod in pods for fault in violations(pod)] == []


def test_a_breach_would_be_found() -> None:
    pod = next(render().pods())
    (container,) = pod.spec["containers"]
    breaches: list[Document] = [
        {"hostNetwork": True},
        {"securityContext": {}},
        {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        {"containers": [container | {"securityContext": container["securityContext"] | {"capabilities": {}}}]},
        {"containers": [container | {"securityContext": container["securityContext"] | {"privileged": True}}]},
        {"containers": [container | {"ports": [{"containerPort": 1, "hostPort": 1}]}]},
        {"initContainers": [{"name": "first"}]},
    ]
    for breach in breaches:
        assert violations(Pod(pod.owner, pod.labels, pod.spec | breach)), breach


def test_beyond_restricted() -> None:
    """Numeric users, a read-only root, no token for Kubernetes' API, no Services in the environment, ports above 1024."""
    for pod in render().pods():
        assert pod.spec["automountServiceAccountToken"] is False, pod.owner
        assert pod.spec["enableServiceLinks"] is False, pod.owner
        assert pod.spec["securityContext"]["runAsUser"] > 0, pod.owner
        for container in pod.containers:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, pod.owner
            assert all(port["containerPort"] > 1024 for port in container.get("ports", ())), pod.owner
            assert "memory" in container["resources"]["limits"], pod.owner


def secrets_seen(manifest: Manifest, pod: Pod) -> set[str]:
    """Which Secrets' keys a pod can read, as name/key."""
    seen = set()
    for volume in pod.spec.get("volumes", ()):
        if "secret" in volume:
            name = volume["secret"]["secretName"]
            keys = [item["key"] for item in volume["secret"].get("items", ())] or list(manifest.secret(name))
            seen |= {f"{name.removeprefix('mb-mailboat-')}/{key}" for key in keys}
    for container in pod.containers:
        for variable in container.get("env", ()):
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                seen.add(f"{reference['name'].removeprefix('mb-mailboat-')}/{reference['key']}")
    return seen


def test_each_pod_sees_only_its_own_secrets() -> None:
    """Above all: MongoDB's credentials are storage_api's alone, and each caller has its own token."""
    manifest = render()
    pair = {"tls/tls.crt", "tls/tls.key"}
    assert {pod.owner.partition("/mb-mailboat-")[2]: secrets_seen(manifest, pod) for pod in manifest.pods()} == {
        "smtp-ingress": {"internal/smtp_ingress", *pair},
        "imap-gateway": {"internal/imap_gateway", "rabbitmq/url", *pair},
        "pop3-gateway": {"internal/pop3_gateway", *pair},
        "delivery-worker": {"internal/delivery_worker", "rabbitmq/url"},
        "storage-api": {"internal/callers.json", "api/token", "mongodb/uri", "rabbitmq/url"},
        "storage-worker": {"mongodb/uri", "rabbitmq/url"},
        "mongodb": {f"mongodb/{key}" for key in ("keyfile", "admin-password", "password", "uri")},
        "rabbitmq": {"rabbitmq/definitions.json"},
        "smoke": {"api/token", "tls/ca.crt"},
    }


def decoded(value: str) -> str:
    """A value of a Secret in clear text; empty if it is none."""
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        return ""


def test_no_secret_stands_outside_secrets() -> None:
    """Neither in an argument nor in any other document."""
    documents = re.split(r"^---$", text_of(), flags=re.MULTILINE)
    secrets = [document for document in documents if re.search(r"^kind: Secret$", document, re.MULTILINE)]
    others = [document for document in documents if document not in secrets]
    encoded = {value for document in secrets for value in re.findall(r"[A-Za-z0-9+/=_-]{32,}", document)}
    plain = {word for value in encoded for word in re.findall(r"[\w+/=-]{32,}", decoded(value))}
    values = encoded | plain
    assert len(values) > 20
    assert {value for value in values if any(value in document for document in others)} == set()


def test_secrets_are_random_each_time() -> None:
    """What is generated without a cluster to ask is new, and long."""
    one, other = (Manifest.parse(text_of()) for _ in range(2))
    for name in ("internal", "api", "mongodb", "rabbitmq"):
        for key, value in one.secret(f"mb-mailboat-{name}").items():
            assert value != other.secret(f"mb-mailboat-{name}")[key], (name, key)
            assert len(value) >= 40, (name, key)


def test_the_certificate_covers_the_services_and_localhost() -> None:
    secret = render("--set", "hostname=mail.example.org", "--set", "tls.extraNames={imap.example.org}").secret(
        "mb-mailboat-tls"
    )
    leaf, authority = (x509.load_pem_x509_certificate(secret[key]) for key in ("tls.crt", "ca.crt"))
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    covered = set(names.get_values_for_type(x509.DNSName))
    assert {
        "mail.example.org",
        "imap.example.org",
        "localhost",
        "mb-mailboat-imap",
        "mb-mailboat-smtp.mail.svc",
    } < covered
    assert {"mb-mailboat-pop3.mail.svc.cluster.local", "mb-mailboat-submission.mail"} < covered
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    lasts = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert lasts.days == 825
    annotations = render().named("Secret", "mb-mailboat-tls")["metadata"]["annotations"]
    renewal = int(annotations["mailboat/renew-after"]) - leaf.not_valid_before_utc.timestamp()
    assert 0.6 < renewal / lasts.total_seconds() < 0.7


def test_the_authoritys_key_is_mounted_nowhere() -> None:
    manifest = render()
    assert not any(seen.startswith("ca/") for pod in manifest.pods() for seen in secrets_seen(manifest, pod))
    key = manifest.secret("mb-mailboat-ca")["tls.key"]
    assert base64.b64encode(key).decode() not in str(manifest.named("Secret", "mb-mailboat-tls"))
