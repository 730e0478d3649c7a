"""Settings: what is accepted, and that every fault is told at once with the variable's name."""

import os
import signal
from ipaddress import ip_network
from pathlib import Path

import pytest
from mailboat_common import config, crash
from mailboat_common.config import (
    AmqpSettings,
    DnsSettings,
    LimitsSettings,
    ProxySettings,
    SecretFile,
    ServiceSettings,
    SettingsError,
    StorageClientSettings,
    TlsSettings,
    parse,
)
from pydantic import Field


class Settings(StorageClientSettings, AmqpSettings, TlsSettings, ProxySettings, LimitsSettings, DnsSettings):
    imap_port: int = Field(2143, description="IMAP")


@pytest.fixture
def needed(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "token").write_text("secret\n")
    return {"MB_INTERNAL_TOKEN_FILE": str(tmp_path / "token"), "MB_TLS_DIR": str(tmp_path)}


def faults(environ: dict[str, str], cls: type[ServiceSettings] = Settings) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse(cls, environ)
    return caught.value.faults


def test_defaults_suit_localhost() -> None:
    settings = parse(ServiceSettings, {"PATH": "/bin", "HOME": "/"})
    assert (settings.hostname, settings.listen_host, settings.log_level) == ("localhost", "", "info")


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("MB_IMAP_PORT", "143", "imap_port", 143),
        ("MB_STORAGE_URL", "http://a:1", "storage_url", ("http://a:1",)),
        ("MB_STORAGE_URL", " http://a:1 , http://b:2,", "storage_url", ("http://a:1", "http://b:2")),
        ("MB_PROXY_NETWORKS", "", "proxy_networks", ()),
        (
            "MB_PROXY_NETWORKS",
            "10.1.2.3/8, 2001:db8::/32,192.0.2.1",
            "proxy_networks",
            (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("192.0.2.1/32")),
        ),
        ("MB_DNS_SERVERS", "127.0.0.1:2053", "dns_servers", ("127.0.0.1:2053",)),
        ("MB_AUTH_REQUIRE_TLS", "false", "auth_require_tls", False),
        ("MB_DRAIN_SECONDS", "2.5", "drain_seconds", 2.5),
        ("MB_LOG_LEVEL", "debug", "log_level", "debug"),
    ],
)
def test_values(needed: dict[str, str], name: str, value: str, field: str, expected: object) -> None:
    assert getattr(parse(Settings, needed | {name: value}), field) == expected


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("MB_IMAP_PROT", "1", "MB_IMAP_PROT: unknown setting; did you mean MB_IMAP_PORT?"),
        ("MB_WHATEVER_ELSE", "1", "MB_WHATEVER_ELSE: unknown setting"),
        ("MB_SERVICE_PORT_25_TCP", "1", "MB_SERVICE_PORT_25_TCP: unknown setting"),
        ("MB_IMAP_PORT", "imap", "MB_IMAP_PORT: Input should be a valid integer"),
        ("MB_ADMIN_PORT", "70000", "MB_ADMIN_PORT: Input should be less than or equal to 65535"),
        ("MB_LOG_LEVEL", "loud", "MB_LOG_LEVEL: Input should be 'debug', 'info'"),
        ("MB_PROXY_NETWORKS", "10.0.0.0/33", "MB_PROXY_NETWORKS: '10.0.0.0/33' does not appear to be"),
        ("MB_STORAGE_URL", ",", "MB_STORAGE_URL: "),
        ("MB_INTERNAL_TOKEN_FILE", "/nowhere/token", "MB_INTERNAL_TOKEN_FILE: no such file"),
        ("MB_TLS_DIR", "/nowhere", "MB_TLS_DIR: no such directory"),
        ("MB_HOSTNAME", "", "MB_HOSTNAME: "),
    ],
)
def test_faults_name_the_variable(needed: dict[str, str], name: str, value: str, fault: str) -> None:
    (found,) = faults(needed | {name: value})
    assert found.startswith(fault)


def test_a_service_takes_only_its_own_settings() -> None:
    assert faults({"MB_AMQP_URL": "amqp://localhost/"}, ServiceSettings) == ["MB_AMQP_URL: unknown setting"]


def test_the_command_lines_settings_are_not_ours() -> None:
    assert parse(ServiceSettings, {"MB_API_URL": "http://x", "MB_API_TOKEN": "t"}).hostname == "localhost"


def test_all_faults_at_once_and_what_is_missing_is_described() -> None:
    found = faults({"MB_IMAP_PORT": "x", "MB_HOSTNAM": "y"})
    assert found[0] == "MB_HOSTNAM: unknown setting; did you mean MB_HOSTNAME?"
    assert "MB_INTERNAL_TOKEN_FILE: must be set (File with this caller's token, one line)" in found
    assert any(fault.startswith("MB_IMAP_PORT: ") for fault in found)
    assert any(fault.startswith("MB_TLS_DIR: must be set") for fault in found)


def test_a_fault_never_shows_a_secret(needed: dict[str, str]) -> None:
    (found,) = faults(needed | {"MB_AMQP_URL": "http://user:hunter2@host/"})
    assert "hunter2" not in found
    settings = parse(Settings, needed | {"MB_AMQP_URL": "amqp://user:hunter2@host/"})
    assert "hunter2" not in repr(settings)


def test_load_tells_and_exits_with_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in list(os.environ):
        if name.startswith("MB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MB_ADMIN_PROT", "1")
    with pytest.raises(SystemExit) as caught:
        config.load(ServiceSettings)
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "1 setting is wrong:\n  MB_ADMIN_PROT: unknown setting; did you mean MB_ADMIN_PORT?\n"
    )
    monkeypatch.delenv("MB_ADMIN_PROT")
    monkeypatch.setenv("MB_ADMIN_PORT", "0")
    assert config.load(ServiceSettings).admin_port == 0


def test_crash_points_are_an_unknown_setting_outside_test_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash, "DISTRIBUTION", "mailboat-no-such-distribution")
    (found,) = faults({"MB_CRASH_POINT": "deliver.before"}, ServiceSettings)
    assert found.startswith("MB_CRASH_POINT: unknown setting")


@pytest.mark.parametrize("spec", ["", "a.b:0", "a.b:x", "a.b:1:explode", ":1", "a.b:1:stop:2"])
def test_a_crash_point_that_does_not_parse_is_refused(spec: str) -> None:
    (found,) = faults({"MB_CRASH_POINT": spec}, ServiceSettings)
    assert found == f"MB_CRASH_POINT: expected name[:nth[:stop]], got {spec!r}"


@pytest.mark.parametrize(
    ("spec", "number", "passage"),
    [("a.b", signal.SIGKILL, 1), ("a.b:3", signal.SIGKILL, 3), ("a.b:2:stop", signal.SIGSTOP, 2)],
)
def test_a_crash_point_acts_once_at_its_passage(
    spec: str, number: signal.Signals, passage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int, int]] = []
    passed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, got: sent.append((pid, got, len(passed))))
    parse(ServiceSettings, {"MB_CRASH_POINT": spec})
    try:
        for number_of_pass in range(5):
            passed.append(number_of_pass)
            crash.point("a.other")
            crash.point("a.b")
    finally:
        crash.disarm()
    crash.point("a.b")
    assert sent == [(os.getpid(), number, passage)]


def test_a_secret_file_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SecretFile, "CHECK_SECONDS", 0.0)
    path = tmp_path / "token"
    secret = SecretFile(path)
    with pytest.raises(FileNotFoundError):
        secret.text()
    path.write_text(" first \n")
    assert secret.text() == "first"
    (tmp_path / "new").write_text("second\n")
    (tmp_path / "new").replace(path)
    assert secret.text() == "second"
    path.write_text("")
    assert secret.text() == "second"
    path.unlink()
    assert secret.text() == "second"


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" \n")
    with pytest.raises(ValueError, match="is empty"):
        SecretFile(tmp_path / "token").text()
