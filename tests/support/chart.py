"""The Helm chart as tests see it: rendered without a cluster, its pods, and what a container finds when it starts."""

from __future__ import annotations

import base64
import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.documents import ROOT

CHART = ROOT / "deploy/helm/mailboat"
VALUES_FILES = sorted((CHART / "ci").glob("*-values.yaml"))
KUBERNETES = ("1.30", "1.32", "1.34", "1.37")
Document = dict[str, Any]


def program(name: str) -> str:
    """helm or kubectl: of the environment, else on the PATH."""
    own = Path(sys.executable).parent / name
    found = str(own) if own.exists() else shutil.which(name)
    assert found is not None, f"{name} is not here: make setup brings it"
    return found


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What helm did and said."""
    return subprocess.run([program("helm"), *arguments], capture_output=True, text=True, check=False)


def text_of(
    *arguments: str, release: str = "mb", namespace: str = "mail", values: Path | None = None, version: str = "1.34"
) -> str:
    """`helm template`'s output. AssertionError with helm's words if it fails."""
    files = [] if values is None else ["--values", str(values)]
    where = ["--namespace", namespace, "--kube-version", version]
    done = helm("template", release, str(CHART), *where, *files, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(*arguments: str) -> str:
    """What helm says when it refuses to render."""
    done = helm("template", "mb", str(CHART), *arguments)
    assert done.returncode != 0, "helm rendered what it should have refused"
    return done.stderr


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, or what a controller makes pods from."""

    owner: str  # Deployment/mb-mailboat-imap-gateway
    labels: Mapping[str, str]
    spec: Document

    @property
    def containers(self) -> list[Document]:
        """All containers, those that only run first included."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


class Manifest:
    """Rendered documents."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """The documents of `helm template`'s output."""
        return cls([document for document in yaml.safe_load_all(text) if document])

    def of(self, kind: str) -> list[Document]:
        """All documents of a kind."""
        return [document for document in self.documents if document["kind"] == kind]

    def named(self, kind: str, name: str) -> Document:
        """The one document of that kind and name."""
        (found,) = [document for document in self.of(kind) if document["metadata"]["name"] == name]
        return found

    def pods(self) -> Iterator[Pod]:
        """Every pod there will be, the test's included."""
        for document in self.documents:
            owner = f"{document['kind']}/{document['metadata']['name']}"
            if document["kind"] == "Pod":
                yield Pod(owner, document["metadata"]["labels"], document["spec"])
            elif "template" in document.get("spec", {}):
                template = document["spec"]["template"]
                yield Pod(owner, template["metadata"]["labels"], template["spec"])

    def secret(self, name: str) -> dict[str, bytes]:
        """A Secret's content."""
        document = self.named("Secret", name)
        return {key: base64.b64decode(text, validate=True) for key, text in document["data"].items()}

    def volume(self, pod: Pod, name: str) -> dict[str, bytes]:
        """The files of a pod's volume, by path below its mount; none for a volume that begins empty."""
        volumes = [*pod.spec.get("volumes", ())]
        (volume,) = [volume for volume in volumes if volume["name"] == name]
        if "secret" in volume:
            source, content = volume["secret"], self.secret(volume["secret"]["secretName"])
        elif "configMap" in volume:
            source = volume["configMap"]
            data = self.named("ConfigMap", source["name"])["data"]
            content = {key: text.encode() for key, text in data.items()}
        else:
            assert "emptyDir" in volume, f"{pod.owner}: what is volume {name}?"
            return {}
        items = source.get("items")
        return content if items is None else {item["path"]: content[item["key"]] for item in items}


@functools.cache
def render(*arguments: str, release: str = "mb", namespace: str = "mail", values: Path | None = None) -> Manifest:
    """The chart, rendered. The result is shared: don't change it."""
    return Manifest.parse(text_of(*arguments, release=release, namespace=namespace, values=values))


def environment(manifest: Manifest, pod: Pod, container: Document, root: Path) -> dict[str, str]:
    """A container's variables as its process gets them; the files it has mounted are written below `root`, and a value
    that is a path in a mount leads there."""
    mounts: dict[str, Path] = {}
    claims = set(_claims(manifest, pod))
    for number, mount in enumerate(container.get("volumeMounts", ())):
        if mount["name"] in claims:
            continue
        directory = root / str(number)
        directory.mkdir(parents=True)
        for path, content in manifest.volume(pod, mount["name"]).items():
            (directory / path).write_bytes(content)
        mounts[mount["mountPath"]] = directory
    found: dict[str, str] = {}
    for variable in container.get("env", ()):
        assert variable["name"] not in found, f"{pod.owner}: {variable['name']} is set twice"
        value = variable.get("value")
        if value is None:
            reference = variable["valueFrom"]["secretKeyRef"]
            value = manifest.secret(reference["name"])[reference["key"]].decode()
        assert isinstance(value, str), f"{pod.owner}: {variable['name']} is no text"
        for path, directory in mounts.items():
            if value == path or value.startswith(path + "/"):
                value = str(directory) + value.removeprefix(path)
        found[variable["name"]] = value
    return found


def _claims(manifest: Manifest, pod: Pod) -> Iterator[str]:
    kind, _, name = pod.owner.partition("/")
    for claim in manifest.named(kind, name)["spec"].get("volumeClaimTemplates", ()):
        yield claim["metadata"]["name"]
