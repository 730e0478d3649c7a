"""The API's description: complete for each operation, its examples true, its scopes those that are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from storage_api.rest.app import MOUNTS, build
from storage_api.rest.models_mail import Flag

DOCUMENT: dict[str, Any] = build().openapi()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


def schemas_of(operation: dict[str, Any]) -> Iterator[str]:
    """The models of an operation's bodies, by name."""
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for content in (body.get("content", {}) for body in bodies):
        for kind in content.values():
            if "$ref" in kind["schema"]:
                yield kind["schema"]["$ref"].rpartition("/")[2]
            else:
                assert "example" in kind or kind["schema"].get("type") == "string"


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=[o["operationId"] for *_, o in OPERATIONS])
def test_an_operation_is_described(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"].endswith(".")
    assert operation["tags"]
    assert operation["security"]
    assert all(need["token"] for need in operation["security"])
    assert {"401", "403", "422", "503"} <= operation["responses"].keys()
    assert [name for name in schemas_of(operation) if not SCHEMAS[name].get("examples")] == []
    assert all(parameter["schema"] for parameter in operation["parameters"])
    named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
    assert named == {segment[1:-1] for segment in path.split("/") if segment.startswith("{")}
    keys = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"]
    assert ("Idempotency-Key" in keys) == (method == "post" and path != "/v1/audit")


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for *_, operation in OPERATIONS]
    assert sorted(set(names)) == sorted(names)
    assert sum(len(router.routes) for _, router in MOUNTS) == len(names)


def models() -> list[type[BaseModel]]:
    def below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
        for child in model.__subclasses__():
            yield child
            yield from below(child)

    return [model for model in below(BaseModel) if model.__module__.startswith("storage_api.rest.")]


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_examples_are_what_the_models_take(model: type[BaseModel]) -> None:
    extra: Any = model.model_config.get("json_schema_extra") or {}
    for example in extra.get("examples", ()):
        assert model.model_validate(example).model_dump(by_alias=True, exclude_unset=True) == example


def test_patterns_are_those_of_every_language() -> None:
    """JSON Schema's patterns are ECMA-262's, where a Python escape like \\U or (?P< is something else or nothing."""

    def patterns(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("pattern"), str):
                yield node["pattern"]
            node = list(node.values())
        for child in node if isinstance(node, list) else ():
            yield from patterns(child)

    found = set(patterns(DOCUMENT))
    assert len(found) > 4
    assert [each for each in found if re.search(r"\\[UNAZza]|\(\?(?!:|=|!|<=|<!)", each)] == []


@pytest.mark.parametrize(
    ("flag", "right"),
    [
        ("\\Seen", True),
        ("$Forwarded", True),
        ("a[b}~", True),
        ("x]", False),
        ("a b", False),
        ("%", False),
        ("{1}", False),
        ("\\\\Seen", False),
        ("gr\u00fcn", False),
        ("(", False),
        ("*", False),
        ('"', False),
        ("a\n", False),
        ("", False),
    ],
)
def test_flags_are_atoms(flag: str, right: bool) -> None:
    adapter = TypeAdapter(Flag)
    if right:
        assert adapter.validate_python(flag) == flag
    else:
        with pytest.raises(ValidationError):
            adapter.validate_python(flag)
