"""Values, their schema and the README's table agree; what can't work is refused with a text that says where."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.chart import CHART, Document, refusal
from tests.support.documents import table

VALUES: Document = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
SCHEMA: Document = json.loads((CHART / "values.schema.json").read_text("utf-8"))
# Maps that the operator fills; what is in them are examples, or defaults of a whole.
OPEN = {"annotations", "podAnnotations", "settings", "resources", "extraNames", "pullSecrets"}


def leaves(values: Document, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value there is, as imapGateway.replicas."""
    for name, value in values.items():
        if isinstance(value, dict) and name not in OPEN:
            yield from leaves(value, f"{path}{name}.")
        else:
            yield path + name, value


def objects(schema: Document) -> Iterator[Document]:
    """Every object in the schema."""
    if schema.get("type") == "object":
        yield schema
    for child in schema.values():
        if isinstance(child, dict):
            yield from objects(child)


def schema_leaves(schema: Document, path: str = "") -> Iterator[str]:
    for name, child in schema["properties"].items():
        while "$ref" in child:
            child = SCHEMA["$defs"][child["$ref"].rpartition("/")[2]]  # noqa: PLW2901 - where the reference leads
        if "properties" in child and name not in OPEN:
            yield from schema_leaves(child, f"{path}{name}.")
        else:
            yield path + name


def test_the_schema_knows_exactly_the_values() -> None:
    assert set(schema_leaves(SCHEMA)) - {"global"} == {path for path, _ in leaves(VALUES)}


def test_no_object_of_the_schema_takes_unknown_names() -> None:
    """It says what may be in it, or that nothing else may be; but for what is Helm's own."""
    for schema in objects(SCHEMA):
        if schema != SCHEMA["properties"]["global"]:
            assert schema.get("additionalProperties", True) is not True, schema


def test_the_readme_lists_exactly_the_values() -> None:
    rows = {row[0].strip("`"): row[1] for row in table("deploy/helm/mailboat/README.md", "value")}
    listed = {}
    for path, value in leaves(VALUES):
        listed[path] = json.dumps(value) if isinstance(value, dict | list) else str(value)
    assert set(rows) == set(listed)
    for path, shown in rows.items():
        if "resources" not in path:
            assert shown.strip("`") == (listed[path] or "(empty)"), path


def test_every_value_has_a_comment() -> None:
    """values.yaml is the documentation: above each first-level value, or beside it."""
    lines = (CHART / "values.yaml").read_text("utf-8").splitlines()
    services = ("imapGateway", "pop3Gateway", "storageApi", "deliveryWorker")  # explained above smtpIngress
    for number, line in enumerate(lines):
        if line and not line.startswith((" ", "#")):
            name = line.partition(":")[0]
            commented = lines[number - 1].startswith("#") or (lines[number + 1] + lines[number + 2]).count("#") > 0
            assert commented or name in services, name


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("image.tga=x", "tga"),
        ("hostname=Not A Name", "/hostname"),
        ("hostname=", "/hostname"),
        ("logLevel=chatty", "/logLevel"),
        ("preStopSeconds=-1", "/preStopSeconds"),
        ("smtpIngress.replicas=0", "/smtpIngress/replicas"),
        ("smtpIngress.replicas=two", "/smtpIngress/replicas"),
        ("smtpIngress.drainSeconds=4000", "/smtpIngress/drainSeconds"),
        ("smtpIngress.settings.TZ=UTC", "TZ"),
        ("smtpIngress.settings.MB_SMTP_PORT=25", "MB_SMTP_PORT is set by the chart itself"),
        ("storageApi.settings.MB_MONGODB_URI=x", "MB_MONGODB_URI is set by the chart itself"),
        ("smtpIngress.resources.requests.memory=much", "/smtpIngress/resources/requests/memory"),
        ("services.imap.type=ExternalName", "/services/imap/type"),
        ("mongodb.image=mongo", "/mongodb/image"),
        ("mongodb.cacheSizeGB=0.1", "/mongodb/cacheSizeGB"),
        ("mongodb.storage.size=large", "/mongodb/storage/size"),
        ("rabbitmq.storage.clas=x", "clas"),
        ("image.repository=Upper/Case", "/image/repository"),
    ],
)
def test_what_cannot_work_is_refused(setting: str, word: str) -> None:
    assert word in refusal("--set", setting)
