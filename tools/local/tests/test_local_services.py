"""Each service is given settings that it accepts, and none that it doesn't."""

from pathlib import Path

import pytest
from mailboat_local import credentials, pki, services
from mailboat_local.layout import SERVICES, Layout, StackSettings


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.create()
    credentials.ensure(made, 2080)
    pki.ensure(made, "mail.example.test")
    return made


@pytest.mark.parametrize("name", SERVICES)
def test_the_environment_is_what_the_service_accepts(name: str, layout: Layout) -> None:
    from importlib import import_module

    from mailboat_common.config import parse

    settings = StackSettings(replicas=2, passed_on={"MB_LOG_LEVEL": "warning", "MB_EXEMPT_NETWORKS": "127.0.0.0/8"})
    child = services.service(layout, settings, name, 2, {})
    parsed = parse(import_module(f"{services.PACKAGES[name]}.settings").Settings, child.env)
    assert parsed.log_level == "warning"
    assert parsed.hostname == "mail.example.test"
    assert parsed.admin_port == child.ports["admin"]
    for label, port in child.ports.items():
        assert getattr(parsed, f"{label}_port") == port
    if "MB_STORAGE_URL" in child.env:
        assert parsed.storage_url == ("http://127.0.0.1:2081", "http://127.0.0.1:2181")


@pytest.mark.parametrize("name", SERVICES)
def test_extra_environment_is_given_as_it_is(name: str, layout: Layout) -> None:
    child = services.service(layout, StackSettings(), name, 1, {"MB_CRASH_POINT": "deliver:1"})
    assert child.env["MB_CRASH_POINT"] == "deliver:1"


def test_what_the_runner_decides_cannot_be_passed_on() -> None:
    known = services.all_settings()
    assert {"MB_LOG_LEVEL", "MB_DRAIN_SECONDS", "MB_EXEMPT_NETWORKS"} <= known
    assert not known & {"MB_SMTP_PORT", "MB_ADMIN_PORT", "MB_ROLE", "MB_INTERNAL_TOKEN_FILE", "MB_STORAGE_URL"}
