"""No secret leaves its place: secrets of every kind are planted in a stack of its own, which then meets every failure.

Afterwards no log (at level debug), command line, metric, trace, entry of the audit log, collection that isn't the
secret's own, or answer of the API holds one of them, as it is or in base64.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mailboat_local.layout import StackSettings
from mailboat_local.process import free_offset
from mailboat_local.stack import Stack
from pymongo import MongoClient

from tests.support.dns_server import dns_server
from tests.support.mongod import Mongod, mongod
from tests.support.rabbitmq import free_ports
from tests.support.smtp_sink import smtp_sink
from tests.support.stack import Account, Live, LiveStack, message, until

__all__ = ["mongod"]

pytestmark = pytest.mark.stack

DATABASE = "secrets"
AWAY = "RabbitMQ is away, trying again"
ZONE = "relayed.example. 5 A 127.0.0.1\n"
# Where a secret must be kept, and may be found.
KEEPERS = {"smarthost": "transports", "webhook": "webhooks", "DKIM key": "dkim_keys", "SRS key": "secrets"}


@dataclass
class Hoard:
    """The planted secrets by name, and every answer that a client got."""

    secrets: dict[str, str] = field(default_factory=dict)
    answers: list[bytes] = field(default_factory=list)

    def plant(self, name: str) -> str:
        """A new secret, of letters that stay what they are in a URL and in JSON."""
        self.secrets[name] = "Zq" + base64.b32encode(name.encode()).decode().rstrip("=")[:24] + "xK7"
        return self.secrets[name]

    def add(self, name: str, secret: str) -> str:
        """A secret that the platform made."""
        assert len(secret) > 10, name
        self.secrets[name] = secret
        return secret

    def found_in(self, where: str, text: bytes, *, but: str = "") -> list[str]:
        """Which secrets a text holds; in base64 the octets between the first and the last of a secret are the same in
        one of three places.
        """
        return [
            f"{name} in {where}"
            for name, secret in self.secrets.items()
            if name != but and (secret.lower().encode() in text.lower() or any(map(text.__contains__, _forms(secret))))
        ]


def _forms(secret: str) -> Iterator[bytes]:
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + secret.encode())
        yield whole[4 if offset else 0 : len(whole) // 4 * 4 - 4]


@dataclass
class Scene:
    """The running stack with its secrets."""

    whole: LiveStack
    live: Live
    hoard: Hoard
    uri: str

    def rest(self, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
        """Any call of the API: status and answer, which is remembered."""
        request = urllib.request.Request(
            self.whole.stack.api_url + path,
            method=method,
            data=body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {token or self.whole.stack.env['MB_API_TOKEN']}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        if status not in (201,):  # what is made says its own secret, once
            self.hoard.answers.append(text)
        return status, json.loads(text or b"null")

    def made(self, path: str, body: Any) -> Any:
        status, answer = self.rest("POST", path, body)
        assert status == 201, answer
        return answer


@pytest.fixture
async def scene(mongod: Mongod, tmp_path: Path) -> AsyncIterator[Scene]:
    """A stack whose MongoDB and RabbitMQ want passwords, at log level debug."""
    hoard = Hoard()
    password = hoard.plant("MongoDB password")
    with MongoClient[dict[str, Any]](mongod.uri) as client:
        client.admin.command("createUser", "mailboat", pwd=password, roles=["root"])
    uri = mongod.uri.replace("//", f"//mailboat:{password}@").replace("/?", f"/{DATABASE}?") + "&authSource=admin"
    dns_port, mx_port = free_ports(2)
    outside = {"MB_DNS_SERVERS": f"127.0.0.1:{dns_port}", "MB_MX_PORT": str(mx_port), "MB_MX_NETWORKS": "127.0.0.0/8"}
    passed_on = outside | {"MB_LOG_LEVEL": "debug", "MB_WEBHOOK_NETWORKS": "127.0.0.0/8"}
    settings = StackSettings(port_offset=free_offset(), mongodb_uri=uri, passed_on=passed_on)
    stack = Stack(tmp_path / "stack", settings=settings)
    try:
        await asyncio.to_thread(stack.up, None, 120.0)
        whole = LiveStack(stack, dns_port, mx_port)
        live = Live(whole)
        yield Scene(whole, live, hoard, uri)
        live.close()
    finally:
        await asyncio.to_thread(stack.down)
        with MongoClient[dict[str, Any]](mongod.uri) as client:
            client.admin.command("dropUser", "mailboat")
            client.drop_database(DATABASE)


def plant_what_services_keep(scene: Scene) -> Account:
    """Tokens, passwords, keys."""
    hoard, layout = scene.hoard, scene.whole.stack.layout
    for path in layout.tokens.iterdir():
        if path.name != "callers.json":
            hoard.add(f"token file {path.name}", path.read_text().strip())
    broker = urllib.parse.urlsplit(scene.whole.stack.amqp_url).password
    assert broker
    hoard.add("AMQP password", urllib.parse.unquote(broker))
    for line in (layout.server_tls / "tls.key").read_text().splitlines():
        if "-----" not in line and len(line) > 40:
            hoard.add(f"TLS key, {line[:4]}", line)
    account = Account("alice@live.test", hoard.plant("account password"))
    scene.made("/v1/accounts", {"address": account.address, "password": account.password})
    for scopes in (["platform"], ["self"]):
        body = {"name": "t", "scopes": scopes, **({"account": account.address} if scopes == ["self"] else {})}
        made = scene.made("/v1/tokens", body)
        hoard.add(f"{scopes[0]} token", made["token"])
        if scopes == ["platform"]:
            assert scene.rest("DELETE", f"/v1/tokens/{made['id']}")[0] == 204
    return account


async def fail_to_log_in(scene: Scene, account: Account) -> None:
    """Wrong passwords, a password where the name belongs, broken commands with a password in them."""
    wrong, as_name = scene.hoard.plant("wrong password"), scene.hoard.plant("password as user name")

    def plain(login: str, password: str) -> str:
        return base64.b64encode(f"\0{login}\0{password}".encode()).decode()

    lines = {
        "imap": [f'LOGIN {account.address} "{wrong}"', f"LOGIN {as_name} x", f"LOGIN {account.address} {wrong} more",
                 f"AUTHENTICATE PLAIN {plain(account.address, wrong)}", f"AUTHENTICATE PLAIN {plain(as_name, wrong)}",
                 f"AUTHENTICATE PLAIN {wrong}", f"{wrong} NOOP"],
        "smtp": [f"AUTH PLAIN {plain(account.address, wrong)}", f"AUTH PLAIN {plain(as_name, wrong)}",
                 f"AUTH PLAIN {wrong}!", f"AUTH {wrong}", wrong],
        "pop3": [f"PASS {wrong}", f"USER {as_name}\r\nPASS {wrong}", f"USER {account.address}\r\nPASS {wrong}",
                 f"AUTH PLAIN {plain(as_name, wrong)}", wrong],
    }  # fmt: skip
    for protocol, commands in lines.items():
        for line in commands:
            if protocol == "imap":
                scene.hoard.answers += await (await scene.live.imap()).command(line)
                continue
            wire = await (scene.live.smtp(1, "submissions") if protocol == "smtp" else scene.live.pop3())
            for part in line.split("\r\n"):
                scene.hoard.answers.append((await wire.say(part)).encode())


def be_refused_over_rest(scene: Scene, account: Account) -> None:
    """Secrets in requests that are wrong in every way."""
    secret = scene.hoard.plant("secret in a wrong request")
    assert scene.rest("GET", "/v1/domains", token=secret)[0] == 401
    assert scene.rest("GET", "/v1/domains", token=scene.hoard.secrets["platform token"])[0] == 401, "revoked"
    bodies = (
        {"address": "no address", "password": secret}, {"address": "b@live.test", "password": [secret]},
        {"address": "b@live.test", "password_hash": secret}, {"address": "b@live.test", "passwort": secret},
        {"address": "b@live.test", "password": secret, "password_hash": secret},
        {"address": account.address, "password": secret}, {"address": "b@live.test", "password": secret * 1000},
        b'{"password": "' + secret.encode(), secret, [secret],
    )  # fmt: skip
    for body in bodies:
        assert scene.rest("POST", "/v1/accounts", body)[0] in (400, 409, 422)
    change = {"old_password": secret, "new_password": secret}
    assert scene.rest("POST", "/v1/me/password", change, token=scene.hoard.secrets["self token"])[0] == 403
    wrong = {"host": "relay.example", "port": 25, "tls": "none", "username": "u", "password": secret}
    for transport in (wrong, {**wrong, "tls": secret}, {**wrong, "tls": "verify", "password": secret * 1000}):
        assert scene.rest("PUT", "/v1/transports/x.example", transport)[0] in (400, 422)
    hook = {"url": f"https://user:{secret}@hook.example/"}
    assert scene.rest("POST", "/v1/webhooks", hook)[0] == 400


async def fail_to_deliver(scene: Scene, account: Account) -> None:
    """A smarthost that refuses our login, one that isn't there, a webhook that isn't there; mail for all of them."""
    hoard, layout = scene.hoard, scene.whole.stack.layout
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(layout.server_tls / "tls.crt", layout.server_tls / "tls.key")
    (closed,) = free_ports(1)
    hook = scene.made("/v1/webhooks", {"url": f"http://127.0.0.1:{closed}/hook", "types": ["message.received"]})
    hoard.add("webhook", hook["secret"].removeprefix("whsec_"))
    relay = {"host": "[127.0.0.1]", "tls": "encrypt", "username": "relayed", "password": hoard.plant("smarthost")}
    async with (
        smtp_sink(context) as sink,
        dns_server(ZONE, port=scene.whole.dns_port),
    ):
        sink.logins["relayed"] = "another password"
        for domain, port in (("relayed.example", sink.port), ("gone.example", closed)):
            assert scene.rest("PUT", f"/v1/transports/{domain}", {**relay, "port": port})[0] == 200
        client = await scene.live.smtp(1, "submissions")
        login = base64.b64encode(f"\0{account.address}\0{account.password}".encode()).decode()
        assert (await client.say(f"AUTH PLAIN {login}")).startswith("235")
        for recipient in ("eve@relayed.example", "eve@gone.example"):
            content = b"From: alice@live.test\r\nSubject: s\r\n\r\nx\r\n"
            assert (await client.transaction(account.address, recipient, content)).startswith("250")
        await scene.live.deliver(account, message("for the webhook"))
        await sink.until(command="AUTH")

    def queue() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = scene.rest("GET", "/v1/queue")[1]["items"]
        return items

    await asyncio.to_thread(
        wait, lambda: len(queue()) == 3 and all(each["attempt"] and each["why"] for each in queue())
    )
    await asyncio.to_thread(wait, lambda: scene.rest("GET", f"/v1/webhooks/{hook['id']}")[1]["failures"] > 0)
    assert scene.rest("POST", f"/v1/webhooks/{hook['id']}/test")[0] in (200, 503)
    for each in queue():
        scene.rest("GET", f"/v1/queue/{each['id']}")
        scene.rest("GET", f"/v1/trace/{each['trace_id']}")


async def lose_rabbitmq(scene: Scene) -> None:
    """The broker dies and comes back, and so does storage_api; their logs tell of it."""
    stack = scene.whole.stack
    ends = scene.whole.log_ends()
    await asyncio.to_thread(stack.kill, "rabbitmq-1")
    await until(lambda: any(line["event"] == AWAY for line in scene.whole.log_lines("storage_api", ends)), 90)
    await asyncio.to_thread(stack.start, "rabbitmq-1", 120.0)
    await asyncio.to_thread(stack.kill, "storage_api-1")
    await asyncio.to_thread(stack.start, "storage_api-1", 120.0)


def complains(log: Path) -> bool:
    """Whether a process has logged a warning or an error."""
    return re.search(rb'"level": "(warning|error)"', log.read_bytes()) is not None


async def be_refused_by_servers(scene: Scene, directory: Path) -> bytes:
    """What processes say whose passwords for MongoDB and RabbitMQ are wrong."""
    said = b""
    for variable, kind in (("MB_MONGODB_URI", "MongoDB password"), ("MB_AMQP_URL", "AMQP password")):
        child = scene.whole.stack.child("storage_worker-1")
        wrong = scene.hoard.plant(f"wrong {kind}")
        (admin,) = free_ports(1)
        env = {"PATH": os.environ["PATH"], **child.env, "MB_ADMIN_PORT": str(admin)}
        env[variable] = env[variable].replace(scene.hoard.secrets[kind], wrong)
        assert wrong in env[variable]
        path = directory / f"{variable}.log"
        with path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(*child.argv, env=env, stdout=log, stderr=log)
        try:
            await until(partial(complains, path), 90)
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 60)
        said += path.read_bytes()
    return said


def wait(condition: Any) -> None:
    asyncio.run(until(condition, 90))


def keys_of(scene: Scene, db: Any) -> None:
    """The keys that the platform made for itself."""
    for document in db["dkim_keys"].find():
        for line in str(document["private"]).splitlines():
            if "-----" not in line:
                scene.hoard.secrets.setdefault("DKIM key", line)
    for document in db["secrets"].find():
        scene.hoard.add("SRS key", base64.b64encode(bytes(document["keys"][0]["k"])).decode())


def command_line(pid: int | None) -> bytes:
    """Of a process of this machine."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_no_secret_is_anywhere_but_in_its_place(scene: Scene, mongod: Mongod, tmp_path: Path) -> None:
    account = plant_what_services_keep(scene)
    forward = {"to": ["eve@gone.example"], "keep": True}
    assert scene.rest("PUT", f"/v1/accounts/{account.address}/forwarding", forward)[0] == 200  # makes the SRS key
    await fail_to_log_in(scene, account)
    be_refused_over_rest(scene, account)
    await fail_to_deliver(scene, account)
    refused = await be_refused_by_servers(scene, tmp_path)
    await lose_rabbitmq(scene)
    for path in (
        "accounts",
        "tokens",
        "transports",
        "webhooks",
        "queue",
        "domains",
        "domains/live.test/dkim",
        "events",
    ):
        assert scene.rest("GET", f"/v1/{path}")[0] == 200
    hoard, stack, found = scene.hoard, scene.whole.stack, []
    with MongoClient[dict[str, Any]](mongod.uri) as client:
        keys_of(scene, client[DATABASE])
        assert set(KEEPERS) <= set(hoard.secrets)
        for name in client[DATABASE].list_collection_names():
            keeper = next((secret for secret, collection in KEEPERS.items() if collection == name), "")
            for document in client[DATABASE][name].find():
                found += hoard.found_in(f"collection {name}", repr(document).encode(), but=keeper)
        assert client[DATABASE]["audit_log"].count_documents({}) > 5
        assert client[DATABASE]["trace"].count_documents({}) > 1
    for log in stack.layout.log.glob("*.log*"):
        found += hoard.found_in(log.name, log.read_bytes())
    for name in stack.names:
        found += hoard.found_in(f"command line of {name}", command_line(stack.pid(name)))
    for name in scene.whole.services():
        for page in ("/metrics", "/readyz"):
            found += hoard.found_in(f"{page} of {name}", (await scene.live.page(name, page))[1].encode())
    found += hoard.found_in("log of processes that are refused", refused)
    for answer in hoard.answers:
        found += hoard.found_in(f"answer {answer[:200]!r}", answer)
    assert len(hoard.answers) > 40
    assert sorted(set(found)) == []


def test_what_is_hidden_in_base64_is_found() -> None:
    hoard = Hoard()
    secret = hoard.plant("a secret")
    for head in ("", "x", "xy", "\0alice\0"):
        text = base64.b64encode(f"{head}{secret}tail".encode())
        assert hoard.found_in("here", b"AUTH PLAIN " + text) == ["a secret in here"], head
    assert hoard.found_in("here", b"nothing") == []
