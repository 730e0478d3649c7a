"""The POP3 gateway as a process, over the real internal calls."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
from mailboat_common.config import SettingsError, parse
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import AppendMessage
from pop3_gateway.settings import Settings

from tests.support.internal import served
from tests.support.rabbitmq import free_ports
from tests.support.service import service
from tests.support.wire import Wire

LINES = ["Subject: hello", "", "..there"]


async def test_mail_is_read_and_a_drain_frees_the_lease(
    tls_dir: Path, client_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    store = MemoryStore()
    account_id = store.add_account("alice@example.test", "secret-enough")
    message = AppendMessage(b"Subject: hello\r\n\r\n.there\r\n")
    await store.write.append(account_id, "INBOX", [message, message], key=os.urandom(16))
    clear, implicit = free_ports(2)
    async with served(store) as storage:
        token = tmp_path / "token"
        token.write_text(storage.tokens["pop3_gateway"])
        settings = {
            "MB_STORAGE_URL": storage.url,
            "MB_INTERNAL_TOKEN_FILE": str(token),
            "MB_TLS_DIR": str(tls_dir),
            "MB_POP3_PORT": str(clear),
            "MB_POP3S_PORT": str(implicit),
        }
        async with service("pop3_gateway", settings) as gateway:
            await gateway.until_ready()
            wire = await Wire.connect(implicit, client_tls)
            answers = [
                await wire.line(),
                await wire.say("USER alice@example.test"),
                await wire.say("PASS secret-enough"),
            ]
            assert [answer[:3] for answer in answers] == ["+OK"] * 3
            assert await wire.say("RETR 2") == "+OK 26 octets"
            assert [await wire.line() for _ in range(4)] == [*LINES, "."]
            assert await wire.say("DELE 1") == "+OK Message 1 deleted"
            _status, text = await gateway.get("/metrics")
            assert 'mailboat_pop3_command_duration_seconds_count{command="RETR",result="ok"} 1.0' in text
            assert 'mailboat_connections{protocol="pop3"} 1.0' in text
            assert 'mailboat_auth_attempts_total{mechanism="USER",protocol="pop3",result="ok"} 1.0' in text
            line = await gateway.log_line("authentication")
            assert (line["result"], line["login"], line["tls"]) == ("ok", "alice@example.test", "TLSv1.3")
            gateway.terminate()
            assert await wire.rest() == b"-ERR [SYS/TEMP] Service restarting, try again\r\n"
            assert await gateway.ended() == 0
    account = store.accounts[account_id]
    assert account.lease is None
    assert len(account.bodies) == 2
    assert len(store.by_name(account, "INBOX").rows) == 2


def test_only_the_settings_it_uses_are_accepted(tls_dir: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    given = {"MB_INTERNAL_TOKEN_FILE": str(token), "MB_TLS_DIR": str(tls_dir)}
    assert parse(Settings, given).pop3_port == 2110
    for name in ("MB_AMQP_URL", "MB_MONGODB_URI", "MB_IMAP_PORT"):
        with pytest.raises(SettingsError, match=f"{name}: unknown setting"):
            parse(Settings, given | {name: "1"})
