"""How each service is started here: its command and exactly the settings that it accepts.

What a service accepts is asked of its own ``<package>.settings.Settings``, loaded by name: the runner starts services,
it doesn't build on them.
"""

from __future__ import annotations

import functools
import http.client
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from mailboat_local import credentials, mongo, rabbit
from mailboat_local.layout import CALLERS, SERVICES, Layout, StackSettings, ports_of
from mailboat_local.process import Child

PACKAGES = {name: name for name in SERVICES} | {"storage_worker": "storage_api"}
ROLES = {"storage_api": "api", "storage_worker": "worker"}
DRAIN_SECONDS = "5"  # a person waits for ``make down``; the services' own default suits a cluster
KILL_AFTER = 5.0  # past the drain time


@functools.cache
def accepted(service: str) -> frozenset[str]:
    """Names of the MB_* variables a service knows."""
    module = importlib.import_module(f"{PACKAGES[service]}.settings")
    return frozenset(f"MB_{field.upper()}" for field in module.Settings.model_fields)


def all_settings() -> frozenset[str]:
    """Every MB_* variable that some service knows and the runner doesn't set itself (ports, files)."""
    own = {f"MB_{label.upper()}_PORT" for service in SERVICES for label in ports_of(service, 1, 0)}
    own |= {"MB_ROLE", "MB_STORAGE_URL", "MB_TLS_DIR", "MB_INTERNAL_TOKEN_FILE", "MB_BOOTSTRAP_TOKEN_FILE"}
    return frozenset().union(*(accepted(service) for service in SERVICES)) - own


def service(layout: Layout, settings: StackSettings, name: str, replica: int, extra_env: Mapping[str, str]) -> Child:
    """One replica of a service."""
    ports = ports_of(name, replica, settings.port_offset)
    command = Path(sys.executable).parent / f"mailboat-{PACKAGES[name].replace('_', '-')}"
    own = {f"MB_{label.upper()}_PORT": str(port) for label, port in ports.items()}
    if name in ROLES:
        own |= {"MB_ROLE": ROLES[name]}
    offered = _shared(layout, settings, name) | settings.passed_on
    env = {key: value for key, value in offered.items() if key in accepted(name)} | own | dict(extra_env)
    drain = float(env.get("MB_DRAIN_SECONDS", DRAIN_SECONDS))
    return Child(
        name=f"{name}-{replica}", argv=(str(command),), env=env, ports=ports,
        ready=lambda: ask_ready(ports["admin"]), stop_seconds=drain + KILL_AFTER,
    )  # fmt: skip


def _shared(layout: Layout, settings: StackSettings, name: str) -> dict[str, str]:
    internal = (
        ports_of("storage_api", replica, settings.port_offset)["internal"]
        for replica in range(1, settings.replicas + 1)
    )
    token = name if name in CALLERS else credentials.CALLERS_FILE
    return {
        "MB_HOSTNAME": settings.hostname,
        "MB_DRAIN_SECONDS": DRAIN_SECONDS,
        "MB_STORAGE_URL": ",".join(f"http://127.0.0.1:{port}" for port in internal),
        "MB_INTERNAL_TOKEN_FILE": str(layout.tokens / token),
        "MB_BOOTSTRAP_TOKEN_FILE": str(layout.tokens / credentials.BOOTSTRAP),
        "MB_TLS_DIR": str(layout.server_tls),
        "MB_MONGODB_URI": mongodb_uri(settings),
        "MB_AMQP_URL": amqp_url(layout, settings),
    }


def mongodb_uri(settings: StackSettings) -> str:
    """The database the stack uses."""
    return settings.mongodb_uri or mongo.uri(settings.port_offset)


def amqp_url(layout: Layout, settings: StackSettings) -> str:
    """The broker the stack uses."""
    return settings.amqp_url or rabbit.url(layout, settings.port_offset)


def ask_ready(admin_port: int) -> str | None:
    """None if /readyz says yes; else what is missing."""
    connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        if answer.status == http.HTTPStatus.OK:
            return None
        return "waits for " + ", ".join(json.loads(answer.read())["failing"])
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        return f"not reachable yet ({type(error).__name__})"
    finally:
        connection.close()
