"""The chart renders, is valid for every Kubernetes it names, and what it refers to is there. No cluster is needed."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.support.chart import CHART, KUBERNETES, VALUES_FILES, Manifest, Pod, helm, refusal, render, text_of
from tests.support.documents import ROOT

FILES = [pytest.param(path, id=path.name.removesuffix("-values.yaml")) for path in VALUES_FILES]
LONG = "a-release-name-of-fifty-three-characters-which-helm-allows"[:53]
NAMES = [("mb", "mail"), ("mailboat", "default"), (LONG, "mail")]


def test_there_are_values_files() -> None:
    assert [path.name for path in VALUES_FILES] == ["default-values.yaml"]


@pytest.mark.parametrize("values", FILES)
def test_lint_strictly(values: Path) -> None:
    done = helm("lint", "--strict", str(CHART), "--values", str(values))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", FILES)
def test_kubernetes_knows_every_field(values: Path, version: str) -> None:
    """Kubernetes' own schemas, strictly: an unknown field is an error, an unknown kind raises SchemaNotFoundError."""
    documents = Manifest.parse(text_of(values=values, version=version)).documents
    assert len(documents) > 20
    for document in documents:
        assert kubernetes_validate.validate(document, version, strict=True) == version


def test_an_unknown_kind_or_field_would_be_found() -> None:
    service = render().named("Service", "mb-mailboat-imap")
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        kubernetes_validate.validate(service | {"kind": "Servise"}, "1.34", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service | {"spec": service["spec"] | {"prots": []}}, "1.34", strict=True)


def test_an_older_kubernetes_is_refused() -> None:
    assert "kubeVersion" in refusal("--kube-version", "1.29.0")


@pytest.mark.parametrize(("release", "namespace"), NAMES)
def test_names_fit_and_are_unique(release: str, namespace: str) -> None:
    manifest = render(release=release, namespace=namespace)
    names = [(document["kind"], document["metadata"]["name"]) for document in manifest.documents]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    # What controllers append (-0, a hash) must fit into the 63 of a label.
    assert max(len(name) for kind, name in names if kind in ("Deployment", "StatefulSet")) <= 63 - 11
    assert max(len(name) for kind, name in names if kind == "Service") <= 63
    for document in manifest.documents:
        for key, value in document["metadata"]["labels"].items():
            assert len(value) <= 63, (key, value)


def test_releases_in_one_namespace_share_nothing() -> None:
    releases = [render(release=name) for name in ("mb", "mb2", LONG, LONG[:-1] + "x")]
    names = [(document["kind"], document["metadata"]["name"]) for each in releases for document in each.documents]
    assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize("values", FILES)
@pytest.mark.parametrize(("release", "namespace"), NAMES)
def test_a_service_finds_its_pods_and_their_ports(release: str, namespace: str, values: Path) -> None:
    manifest = render(release=release, namespace=namespace, values=values)
    for service in manifest.of("Service"):
        selector = service["spec"]["selector"].items()
        chosen = [pod for pod in manifest.pods() if selector <= pod.labels.items()]
        components = {pod.labels["app.kubernetes.io/component"] for pod in chosen}
        if service["metadata"]["name"].endswith("-metrics"):
            assert len(components) == 7  # the six processes and MongoDB's sidecar
        else:
            assert components == {service["metadata"]["labels"]["app.kubernetes.io/component"]}
        for port in service["spec"]["ports"]:
            for pod in chosen:
                assert port["targetPort"] in ports_of(pod), (service["metadata"]["name"], port)


def ports_of(pod: Pod) -> dict[str, int]:
    ports = [port for container in pod.containers for port in container.get("ports", ())]
    found = {port["name"]: port["containerPort"] for port in ports}
    assert len(found) == len(ports), f"{pod.owner}: a port's name or number is there twice"
    return found


def test_the_standard_ports() -> None:
    shown = {
        service["metadata"]["name"]: {port["port"] for port in service["spec"]["ports"]}
        for service in render().of("Service")
        if service["spec"].get("clusterIP") != "None"
    }
    assert shown == {
        "mb-mailboat-smtp": {25},
        "mb-mailboat-submission": {587, 465},
        "mb-mailboat-imap": {143, 993},
        "mb-mailboat-pop3": {110, 995},
        "mb-mailboat-api": {8080},
        "mb-mailboat-rabbitmq": {5672, 15692},
    }
    assert {service["spec"].get("type", "ClusterIP") for service in render().of("Service")} == {"ClusterIP"}


def test_internal_calls_are_on_the_headless_service_only() -> None:
    offering = [
        service["metadata"]["name"]
        for service in render().of("Service")
        if any(port["targetPort"] == "internal" for port in service["spec"]["ports"])
    ]
    assert offering == ["mb-mailboat-storage-internal"]
    assert render().named("Service", offering[0])["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer"])
def test_an_exposed_service_shows_true_client_addresses(kind: str) -> None:
    service = render("--set", f"services.imap.type={kind}").named("Service", "mb-mailboat-imap")
    assert (service["spec"]["type"], service["spec"]["externalTrafficPolicy"]) == (kind, "Local")
    assert "externalTrafficPolicy" not in render().named("Service", "mb-mailboat-imap")["spec"]


@pytest.mark.parametrize("values", FILES)
@pytest.mark.parametrize(("release", "namespace"), NAMES)
def test_references_resolve(release: str, namespace: str, values: Path) -> None:
    """Every Secret, ConfigMap, key, volume, claim, port and Service that a pod names is there."""
    manifest = render(release=release, namespace=namespace, values=values)
    for pod in manifest.pods():
        volumes = {volume["name"] for volume in pod.spec.get("volumes", ())}
        for volume in volumes:
            manifest.volume(pod, volume)  # raises if its source or a key of it isn't there
        kind, _, name = pod.owner.partition("/")
        owner = manifest.named(kind, name)
        claims = {claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", ())}
        mounted = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", ())}
        assert mounted == volumes | claims, pod.owner
        if kind == "StatefulSet":
            governing = manifest.named("Service", owner["spec"]["serviceName"])
            assert governing["spec"]["selector"].items() <= pod.labels.items()
        if kind != "Pod":
            assert owner["spec"]["selector"]["matchLabels"].items() <= pod.labels.items()
        for container in pod.containers:
            for variable in container.get("env", ()):
                if "valueFrom" in variable:
                    reference = variable["valueFrom"]["secretKeyRef"]
                    assert reference["key"] in manifest.secret(reference["name"]), (pod.owner, variable)
            ports = {port["name"] for port in container.get("ports", ())}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                for action in ("httpGet", "tcpSocket"):
                    if action in container.get(probe, {}):
                        assert container[probe][action]["port"] in ports, (pod.owner, probe)


@pytest.mark.parametrize("release", ["mb", LONG])
def test_addresses_in_the_environment_are_services(release: str) -> None:
    """Storage, RabbitMQ and MongoDB are asked for under names that exist, with ports that they have."""
    manifest = render(release=release)
    ports = {
        service["metadata"]["name"]: {port["port"] for port in service["spec"]["ports"]}
        for service in manifest.of("Service")
    }
    secrets = {name: manifest.secret(name) for name in (s["metadata"]["name"] for s in manifest.of("Secret"))}
    texts = [
        variable.get("value")
        or secrets[variable["valueFrom"]["secretKeyRef"]["name"]][variable["valueFrom"]["secretKeyRef"]["key"]].decode()
        for pod in manifest.pods()
        for container in pod.containers
        for variable in container.get("env", ())
        if variable["name"] in ("MB_STORAGE_URL", "MB_AMQP_URL", "MB_MONGODB_URI", "MB_MEMBER_HOST")
    ]
    assert len(texts) == 11  # four callers, four with RabbitMQ, two with MongoDB, the sidecar
    for text in texts:
        host, _, port = text.rpartition("@")[2].removeprefix("http://").partition("/")[0].partition(":")
        name = host.rpartition(".")[2]  # a member's own name stands before its Service's
        assert int(port) in ports[name], text


def test_requests_fit_a_small_node() -> None:
    """At most 1 CPU and 2.5 GiB in all, so that a surge of one pod for each service fits too."""
    cpu = memory = 0.0
    for pod in render().pods():
        if pod.owner == "Pod/mb-mailboat-smoke":
            continue
        for container in pod.spec["containers"]:
            requests = container["resources"]["requests"]
            cpu += quantity(requests["cpu"])
            memory += quantity(requests["memory"])
            assert quantity(container["resources"]["limits"]["memory"]) >= quantity(requests["memory"])
    assert cpu <= 1
    assert memory <= 2.5 * 2**30


def quantity(text: str) -> float:
    """A Kubernetes quantity of the forms used here."""
    for suffix, factor in (("Gi", 2.0**30), ("Mi", 2.0**20), ("m", 0.001)):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)


@pytest.mark.parametrize(("pause", "drain"), [(5, 30), (0, 0), (20, 600)])
def test_the_grace_period_covers_pause_and_drain(pause: int, drain: int) -> None:
    manifest = render("--set", f"preStopSeconds={pause}", "--set", f"imapGateway.drainSeconds={drain}")
    spec = manifest.named("Deployment", "mb-mailboat-imap-gateway")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["terminationGracePeriodSeconds"] >= pause + drain + 15
    assert {"name": "MB_DRAIN_SECONDS", "value": str(drain)} in container["env"]
    stop = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert stop == pause


def test_a_rollout_never_takes_the_last_pod() -> None:
    deployments = render().of("Deployment")
    assert len(deployments) == 6
    for deployment in deployments:
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_liveness_touches_no_dependency() -> None:
    for pod in render().pods():
        for container in pod.spec["containers"]:
            if any(port["name"] == "admin" for port in container.get("ports", ())):
                assert container["livenessProbe"]["httpGet"]["path"] == "/livez", pod.owner
                assert container["readinessProbe"]["httpGet"]["path"] == "/readyz", pod.owner
                assert container["startupProbe"]["httpGet"]["path"] == "/livez", pod.owner


def test_mongodb_and_rabbitmq_are_started_by_their_own_commands() -> None:
    for name, image, command in (("mongodb", "mongo:", "mongod"), ("rabbitmq", "rabbitmq:", "rabbitmq-server")):
        spec = render().named("StatefulSet", f"mb-mailboat-{name}")["spec"]["template"]["spec"]
        container = spec["containers"][0]
        assert container["image"].startswith(image)
        assert container["command"][0] == command
        assert "args" not in container
    mongod = render().named("StatefulSet", "mb-mailboat-mongodb")["spec"]["template"]["spec"]["containers"][0]
    assert "--setParameter=transactionLifetimeLimitSeconds=5" in mongod["command"]
    config = render().named("ConfigMap", "mb-mailboat-rabbitmq")["data"]
    assert "rabbitmq_prometheus" in config["enabled_plugins"]


def test_the_version_is_that_of_the_code() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    versions = {
        tomllib.loads(path.read_text())["project"]["version"]
        for part in ("libs", "services", "tools")
        for path in ROOT.glob(f"{part}/*/pyproject.toml")
    }
    assert versions == {chart["appVersion"]}


def images_of(manifest: Manifest) -> set[str]:
    return {container["image"] for pod in manifest.pods() for container in pod.containers}


def test_images_are_those_that_are_built() -> None:
    services = {path.parent.name.replace("_", "-") for path in ROOT.glob("services/*/pyproject.toml")}
    ours = {f"mailboat/{service}:0.1.0" for service in services}
    assert images_of(render()) == ours | {"mongo:6.0", "rabbitmq:4.0"}
    other = images_of(render("--set", "image.repository=registry.example:5000/mail", "--set", "image.tag=v7"))
    assert {f"registry.example:5000/mail/{service}:v7" for service in services} < other
