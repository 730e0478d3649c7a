"""Settings: `MB_*` environment variables, typed, described, and refused when one is unknown.

A service derives its own class from the mixins it needs, so that it accepts exactly what it uses:

    class Settings(StorageClientSettings, TlsSettings):
        imap_port: int = Field(2143, description="IMAP with STARTTLS")

    settings = load(Settings)

Rules: a field `imap_port` is the variable `MB_IMAP_PORT`; `MB_API_*` belong to the command line and are not ours;
secrets come as files and are read again when they change; all faults are reported at once, in one text, without
showing a secret.
"""

import difflib
import os
import sys
import time
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from mailboat_common import crash
from mailboat_common.log import get_logger

PREFIX = "MB_"
FOREIGN_PREFIXES = ("MB_API_",)

Network = IPv4Network | IPv6Network
log = get_logger(__name__)


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
    return value


def _networks(value: Any) -> Any:
    """`10.1.2.3/8` is accepted as `10.0.0.0/8`: the host bits are a slip, not another meaning."""
    return tuple(ip_network(part, strict=False) if isinstance(part, str) else part for part in _split(value))


def _readable_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("no such file")
    if not os.access(path, os.R_OK):
        raise ValueError("the file is not readable for this user")
    return path


def _directory(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError("no such directory")
    return path


StrList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
NetworkList = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
ReadableFile = Annotated[Path, AfterValidator(_readable_file)]
Directory = Annotated[Path, AfterValidator(_directory)]
Port = Annotated[int, Field(ge=0, le=65535)]


class ServiceSettings(BaseSettings):
    """What every service has. The defaults suit one process on localhost."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    hostname: str = Field(
        "localhost", min_length=1, description="The platform's name in greetings, EHLO and message ids"
    )
    listen_host: str = Field("", description="Address to listen on; empty: all, IPv6 and IPv4")
    admin_port: Port = Field(11100, description="Port of /livez, /readyz and /metrics")
    drain_seconds: float = Field(30.0, ge=0, le=3600, description="Time to finish work after SIGTERM")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in: `parse` alone reads an environment, so a test's settings depend on nothing else."""
        return (init_settings,)


class StorageClientSettings(ServiceSettings):
    """For a service that calls storage_api."""

    storage_url: StrList = Field(
        ("http://localhost:2081",), min_length=1, description="Internal addresses of storage_api, comma separated"
    )
    internal_token_file: ReadableFile = Field(description="File with this caller's token, one line")


class AmqpSettings(ServiceSettings):
    """For a service that publishes to or consumes from RabbitMQ."""

    amqp_url: str = Field(
        "amqp://localhost:7672/", pattern=r"^amqps?://", repr=False, description="RabbitMQ with user and password"
    )


class TlsSettings(ServiceSettings):
    """For a service with TLS listeners."""

    tls_dir: Directory = Field(description="Directory of certificate pairs, watched for changes")
    auth_require_tls: bool = Field(True, description="Refuse to authenticate without TLS")


class ProxySettings(ServiceSettings):
    """For a service with listeners behind a load balancer."""

    proxy_networks: NetworkList = Field((), description="Networks whose PROXY protocol header is believed")


class LimitsSettings(ServiceSettings):
    """For a service with listeners of its own."""

    connections_per_address: int = Field(100, ge=1, description="Connections of one client address (IPv6: /64)")
    connections_total: int = Field(20000, ge=1, description="Connections of this process")
    exempt_networks: NetworkList = Field((), description="Networks without a limit per address")


class EdgeSettings(TlsSettings, ProxySettings, LimitsSettings):
    """For a service that clients on the internet connect to."""


class DnsSettings(ServiceSettings):
    """For a service that resolves names outside the cluster."""

    dns_servers: StrList = Field((), description="Resolvers, comma separated, host or host:port; empty: the system's")


S = TypeVar("S", bound=ServiceSettings)


class SettingsError(Exception):
    """The settings are unusable; `faults` is one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def load(cls: type[S]) -> S:
    """The settings from the environment, or one clear text on stderr and exit status 2."""
    try:
        return parse(cls, os.environ)
    except SettingsError as error:
        lines = [f"{_count(len(error.faults))} wrong:", *(f"  {fault}" for fault in error.faults)]
        sys.stderr.write("\n".join(lines) + "\n")
        raise SystemExit(2) from None


def parse(cls: type[S], environ: Mapping[str, str]) -> S:
    """Like `load`, from any mapping. Raises SettingsError with every fault found."""
    known = {PREFIX + name.upper(): name for name in cls.model_fields}
    given = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
    faults = []
    spec = given.pop(crash.SETTING, None) if crash.available() else None
    if spec is not None:
        try:
            crash.arm(spec)
        except ValueError as error:
            faults.append(f"{crash.SETTING}: {error}")
    for name in sorted(given):
        if name not in known and not name.startswith(FOREIGN_PREFIXES):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
            faults.append(f"{name}: unknown setting" + (f"; did you mean {near[0]}?" if near else ""))
    values: dict[str, Any] = {known[name]: value for name, value in given.items() if name in known}
    try:
        settings = cls(**values)
    except ValidationError as error:
        raise SettingsError(faults + [_fault(cls, dict(item)) for item in error.errors()]) from None
    if faults:
        raise SettingsError(faults)
    return settings


def _fault(cls: type[ServiceSettings], item: dict[str, Any]) -> str:
    location = item["loc"]
    if not location:  # a rule over several settings: its text names them
        return str(item["msg"]).removeprefix("Value error, ")
    name = PREFIX + str(location[0]).upper()
    if item["type"] == "missing":
        description = cls.model_fields[str(location[0])].description
        return f"{name}: must be set ({description})"
    text = str(item["msg"]).removeprefix("Value error, ")
    if not cls.model_fields[str(location[0])].repr:
        return f"{name}: {text}"
    return f"{name}: {text}, got {item['input']!r}"


def _count(faults: int) -> str:
    return "1 setting is" if faults == 1 else f"{faults} settings are"


class SecretFile:
    """A secret kept in a file: read at the first use, read again when the file changes.

    Kubernetes swaps a mounted secret under running pods; a rotation must not need a restart. A file that vanishes or
    becomes empty keeps the last secret and says so in the log.
    """

    CHECK_SECONDS = 1.0

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = ""
        self._seen: tuple[int, int, int] | None = None
        self._checked = -1e9

    def text(self) -> str:
        """The content without surrounding white space. Raises OSError or ValueError if it was never readable."""
        now = time.monotonic()
        if now - self._checked >= self.CHECK_SECONDS:
            try:
                self._refresh()
            except (OSError, ValueError) as error:
                if not self._text:
                    raise
                log.error("secret file unusable, keeping the last content", path=str(self.path), cause=str(error))
            self._checked = now
        return self._text

    def _refresh(self) -> None:
        status = self.path.stat()
        seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if seen == self._seen:
            return
        text = self.path.read_text("utf-8").strip()
        if not text:
            raise ValueError(f"{self.path} is empty")
        self._text, self._seen = text, seen
