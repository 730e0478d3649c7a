"""Every container of ours starts: what it is given is what its settings class takes, files and their content included.

A service refuses to start on a variable that it doesn't know, so a slip in the chart would show only on a cluster.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from mailboat_common.config import ServiceSettings, SettingsError, parse
from mailboat_common.tls import CertificateStore

from tests.support.chart import VALUES_FILES, Document, Manifest, Pod, environment, render

SIDECAR = "mailboat-replica-set"
CALLERS = ("smtp_ingress", "imap_gateway", "pop3_gateway", "delivery_worker")
RELEASES = ("mb", "mailboat", "a-release-name-of-fifty-three-characters-which-helm-a")


def settings_class(container: Document) -> type[ServiceSettings] | None:
    """The settings of the process a container runs; None if it isn't a service of ours."""
    repository, _, service = container["image"].partition(":")[0].rpartition("/")
    if repository != "mailboat":
        return None
    package = service.replace("-", "_")
    if command := container.get("command"):
        if command[0] == "mailboatctl":
            return None
        assert command == [SIDECAR]
        package = "storage_api.replica_set"
    found: type[ServiceSettings] = importlib.import_module(f"{package}.settings").Settings
    return found


def services(manifest: Manifest) -> list[tuple[Pod, Document, type[ServiceSettings]]]:
    """Each container of ours with its settings class."""
    return [
        (pod, container, found)
        for pod in manifest.pods()
        for container in pod.containers
        if (found := settings_class(container)) is not None
    ]


@pytest.mark.parametrize("values", VALUES_FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("release", RELEASES)
def test_every_container_gets_what_its_settings_take(release: str, values: Path, tmp_path: Path) -> None:
    manifest = render(release=release, values=values)
    found = services(manifest)
    assert len(found) == 7
    for number, (pod, container, settings) in enumerate(found):
        given = environment(manifest, pod, container, tmp_path / str(number))
        parsed = parse(settings, given)
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        assert ports.pop("admin") == parsed.admin_port
        for name, port in ports.items():
            assert getattr(parsed, f"{name}_port") == port, (pod.owner, name)


def test_a_slip_would_be_found(tmp_path: Path) -> None:
    manifest = render("--set", "imapGateway.settings.MB_MESAGE_LIMIT=1")
    (one,) = [one for one in services(manifest) if one[0].owner.endswith("imap-gateway")]
    pod, container, settings = one
    with pytest.raises(SettingsError, match="MB_MESAGE_LIMIT: unknown setting; did you mean MB_MESSAGE_LIMIT"):
        parse(settings, environment(manifest, pod, container, tmp_path))


def test_settings_of_the_operator_arrive(tmp_path: Path) -> None:
    """Numbers too: Helm reads them as floating point, and a service knows no 1.048576e+08."""
    manifest = render(
        *("--set", "smtpIngress.settings.MB_MESSAGE_SIZE_LIMIT=104857600"),
        *("--set", r"smtpIngress.settings.MB_EXEMPT_NETWORKS=10.0.0.0/8\,::1/128"),
        *("--set", "smtpIngress.settings.MB_AUTH_REQUIRE_TLS=false"),
    )
    (one,) = [one for one in services(manifest) if one[0].owner.endswith("smtp-ingress")]
    pod, container, settings = one
    parsed = parse(settings, environment(manifest, pod, container, tmp_path)).model_dump()
    assert parsed["message_size_limit"] == 104857600
    assert [str(network) for network in parsed["exempt_networks"]] == ["10.0.0.0/8", "::1/128"]
    assert parsed["auth_require_tls"] is False


def test_the_callers_tokens_are_those_that_storage_knows(tmp_path: Path) -> None:
    manifest = render()
    given = {
        pod.owner.partition("/mb-mailboat-")[2]: environment(manifest, pod, container, tmp_path / str(number))
        for number, (pod, container, _) in enumerate(services(manifest))
        if len(pod.spec["containers"]) == 1
    }
    known = json.loads(Path(given["storage-api"]["MB_INTERNAL_TOKEN_FILE"]).read_text())
    for caller in CALLERS:
        token = Path(given[caller.replace("_", "-")]["MB_INTERNAL_TOKEN_FILE"]).read_text()
        assert known.pop(caller) == [token]
        assert len(token) >= 32
    assert known == {}


def test_the_certificate_directory_loads(tmp_path: Path) -> None:
    manifest = render()
    for number, (pod, container, _) in enumerate(services(manifest)):
        given = environment(manifest, pod, container, tmp_path / str(number))
        if "MB_TLS_DIR" in given:
            (pair,) = CertificateStore(Path(given["MB_TLS_DIR"])).pairs
            assert "mail.example.test" in pair.names


def test_database_and_broker_know_the_user_that_the_services_are(tmp_path: Path) -> None:
    manifest = render()
    uri = urlsplit(manifest.secret("mb-mailboat-mongodb")["uri"].decode())
    (sidecar,) = [one for one in services(manifest) if one[1].get("command") == [SIDECAR]]
    given = environment(manifest, sidecar[0], sidecar[1], tmp_path)
    wanted = parse(sidecar[2], given).model_dump()
    assert uri.password == Path(given["MB_PASSWORD_FILE"]).read_text()
    assert uri.username == wanted["user"]
    assert f"{uri.hostname}:{uri.port}" == wanted["member_host"]
    assert uri.path == "/" + wanted["database"]
    assert parse_qs(uri.query) == {"replicaSet": [wanted["replica_set"]], "authSource": ["admin"]}
    mongod = manifest.named("StatefulSet", "mb-mailboat-mongodb")["spec"]["template"]["spec"]["containers"][0]
    assert f"--replSet={wanted['replica_set']}" in mongod["command"]

    secret = manifest.secret("mb-mailboat-rabbitmq")
    broker, definitions = urlsplit(secret["url"].decode()), json.loads(secret["definitions.json"])
    (user,) = definitions["users"]
    assert (broker.username, broker.password) == (user["name"], user["password"])
    assert user["tags"] == []
