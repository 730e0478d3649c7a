"""What clients send as JSON: how many members an object has is looked at before the members are."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from storage_api.rest.app import build
from storage_api.rest.models import MAX_MEMBERS, Strict
from storage_api.rest.models_submit import NewMessage

MANY = {f"member{number}": 1 for number in range(MAX_MEMBERS + 1)}


def every_model(of: type[Strict] = Strict) -> list[type[Strict]]:
    """All models of what clients send."""
    build()  # imports every router
    return [model for found in of.__subclasses__() for model in (found, *every_model(found))]


def faults(model: type[Strict], value: Any) -> int:
    """How many errors a value has."""
    with pytest.raises(ValidationError) as error:
        model.model_validate(value)
    return error.value.error_count()


def test_an_object_with_too_many_members_is_one_error() -> None:
    models = every_model()
    assert len(models) > 20
    assert {model.__name__: faults(model, MANY) for model in models} == {model.__name__: 1 for model in models}


def test_so_are_header_fields_and_lists() -> None:
    message = {"from": "alice@example.test", "to": ["bob@example.test"]}
    for member in ("headers", "to", "references", "attachments"):
        assert faults(NewMessage, message | {member: MANY if member == "headers" else [MANY] * 2000}) < 5, member


def test_nothing_else_is_taken_as_a_body() -> None:
    strict = {model.__name__ for model in every_model()}
    bodies = [
        body["schema"]["$ref"].rpartition("/")[2]
        for path in build().openapi()["paths"].values()
        for operation in path.values()
        for kind, body in operation.get("requestBody", {}).get("content", {}).items()
        if kind == "application/json" and "$ref" in body["schema"]
    ]
    assert len(bodies) > 15
    assert set(bodies) <= strict
