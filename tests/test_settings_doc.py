"""The tables of settings in docs/operations.md and README.md name exactly what services and runner accept."""

from __future__ import annotations

import importlib

import pytest
from mailboat_common.config import PREFIX, ServiceSettings
from mailboat_local.layout import RUNNER_SETTINGS

from tests.support.documents import quoted, section, table

SERVICES = {
    **{name: name for name in ("smtp_ingress", "imap_gateway", "pop3_gateway", "storage_api", "delivery_worker")},
    "replica_set": "storage_api.replica_set",
}


def classes() -> dict[str, type[ServiceSettings]]:
    return {name: importlib.import_module(f"{package}.settings").Settings for name, package in SERVICES.items()}


def accepted() -> dict[str, set[str]]:
    """Setting → the services that know it."""
    found: dict[str, set[str]] = {}
    for service, settings in classes().items():
        for field in settings.model_fields:
            found.setdefault(PREFIX + field.upper(), set()).add(service)
    return found


def documented() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, services, _default, meaning in table("docs/operations.md", "setting"):
        assert meaning, name
        (plain,) = quoted(name)
        found[plain] = set(SERVICES) if services == "all" else set(quoted(services))
    return found


def test_every_setting_is_listed_with_the_services_that_take_it() -> None:
    assert documented() == accepted()


def test_every_setting_says_what_it_is_for() -> None:
    nameless = [
        f"{service}: {name}"
        for service, settings in classes().items()
        for name, field in settings.model_fields.items()
        if not field.description
    ]
    assert nameless == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_no_more_settings_than_a_person_can_read(service: str) -> None:
    assert len(classes()[service].model_fields) <= 25


def test_the_runners_settings_are_in_the_readme() -> None:
    assert {name for name in quoted(section("README.md", "Settings")) if name in RUNNER_SETTINGS} == set(
        RUNNER_SETTINGS
    )
