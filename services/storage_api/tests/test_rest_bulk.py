"""Many messages in one request: each judged and repeated by itself, in the order of the body."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mailboat_common.errors import Unavailable

from tests.support.rest import World, add, world

__all__ = ["world"]

MEDIA = {"content-type": "application/vnd.mailboat.messages"}


def framed(content: bytes, key: str, **more: Any) -> bytes:
    return json.dumps({"size": len(content), "key": key.ljust(16, "-"), **more}).encode() + b"\n" + content


def message(number: int, size: int = 0) -> bytes:
    return b"Subject: %d\r\n\r\n%s\r\n" % (number, b"x" * size)


async def send(world: World, body: bytes, mailbox: str = "INBOX", root: str = "") -> tuple[int, Any]:
    path = f"{root or '/accounts/' + world.at('alice')}/mailboxes/{mailbox}/messages:batch"
    answer = await world.raw("POST", path, body, headers=MEDIA)
    return answer.status_code, answer.json()


async def listed(world: World, token: str) -> list[dict[str, Any]]:
    path = f"/accounts/{world.at('alice')}/mailboxes/INBOX/messages"
    items: list[dict[str, Any]] = (await world.call("GET", path, token=token, order="oldest", limit=200))[1]["items"]
    return items


async def test_messages_are_appended_in_order_and_once(world: World) -> None:
    await add(world, "alice")
    reader = await world.scoped(f"domain:{world.domain}", "read-mail")
    sizes = [0, 70_000, 10, 200_000, 0, 0, 65_000]  # large ones are prepared elsewhere, and keep their place
    body = b"".join(
        framed(message(n, size), f"k{n}", flags=["\\Seen", f"word{n}"], internal_date=1000 * n)
        for n, size in enumerate(sizes)
    )
    status, answer = await send(world, body)
    assert (status, [item["uid"] for item in answer["results"]]) == (200, [1, 2, 3, 4, 5, 6, 7])
    found = await listed(world, reader)
    assert [(item["subject"], item["internal_date"]) for item in found] == [(str(n), 1000 * n) for n in range(7)]
    assert found[3]["flags"] == ["\\Seen", "word3"]
    # The same key is the same message, whatever it comes with.
    again = framed(message(7), "k7") + framed(message(3, 200_000), "k3") + framed(message(8), "k8")
    assert [item["uid"] for item in (await send(world, again))[1]["results"]] == [8, 4, 9]
    assert len(await listed(world, reader)) == 9
    (first, *_) = await world.audited("message.append_batch")
    assert first["details"] == {"mailbox": "INBOX", "appended": 7, "messages": 7}


async def test_a_message_that_cannot_be_kept_does_not_take_others_along(world: World) -> None:
    await add(world, "alice", quota_bytes=1000)
    body = (
        framed(message(1), "a")
        + framed(message(2, 2000), "b")
        + framed(b"Subject: nul\r\n\r\n\0\r\n", "c")
        + framed(message(3), "d", flags=["\\Nonsense"])
        + framed(message(4), "e")
    )
    status, answer = await send(world, body)
    assert status == 200
    assert [item["code"] or item["uid"] for item in answer["results"]] == [1, "over_quota", "invalid", "invalid", 2]


async def test_a_failure_of_one_is_told_and_the_repeat_appends_what_is_missing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(world, "alice")
    write = world.core.mongo.write
    append = type(write).append
    failing = [True]

    async def flaky(self: Any, account: Any, name: str, messages: Any, *, key: bytes) -> Any:
        if failing and b"Subject: 2" in messages[0].content:
            failing.clear()
            raise Unavailable("the database is away")
        return await append(self, account, name, messages, key=key)

    monkeypatch.setattr(type(write), "append", flaky)
    body = b"".join(framed(message(n), f"f{n}") for n in range(4))
    assert (await send(world, body))[0] == 503
    status, answer = await send(world, body)
    assert (status, sorted(item["uid"] for item in answer["results"])) == (200, [1, 2, 3, 4])


async def test_what_a_batch_is_refused_for(world: World) -> None:
    await add(world, "alice")
    await add(world, "bob")
    good = framed(message(1), "a")
    for body in (
        b"no line",
        b"{}\n",
        good[:-1],
        framed(b"", "a"),
        framed(message(1), "a", flags=["a b"]),
        framed(message(1), "a", internal_date="today"),
        framed(message(1), "a", surprise=1),
        b"x" * 10_000 + b"\n",
        b"".join(framed(message(n), f"n{n}") for n in range(129)),
    ):
        assert (await send(world, body))[0] == 400, body[:60]
    assert (await send(world, b""))[1]["results"] == []
    assert (await send(world, good, "Nowhere"))[0] == 404
    path = f"/accounts/{world.at('alice')}/mailboxes/INBOX/messages:batch"
    assert (await world.raw("POST", path, good, headers={"content-type": "message/rfc822"})).status_code == 415
    own = await world.scoped("self", account=world.at("bob"))
    assert (await world.raw("POST", path, good, headers=MEDIA, token=own)).status_code == 403
    assert (
        await world.raw("POST", "/me/mailboxes/INBOX/messages:batch", good, headers=MEDIA, token=own)
    ).status_code == 200


async def test_many_messages_are_read(world: World) -> None:
    await add(world, "alice")
    sizes = [0, 5_000_000, 2_000_000, 2_000_000, 10]
    body = b"".join(framed(message(n, size), f"k{n}") for n, size in enumerate(sizes, 1))
    assert (await send(world, body))[0] == 200
    reader = await world.scoped(f"domain:{world.domain}", "read-mail")
    path = f"/accounts/{world.at('alice')}/mailboxes/INBOX/messages:batch"

    async def read(uids: str) -> dict[int, bytes]:
        answer = await world.raw("GET", path, token=reader, uids=uids)
        assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA["content-type"])
        found, rest = {}, answer.content
        while rest:
            line, _, rest = rest.partition(b"\n")
            given = json.loads(line)
            found[given["uid"]], rest = rest[: given["size"]], rest[given["size"] :]
        return found

    assert await read("5,1,9,1") == {1: message(1), 5: message(5, 10)}
    first = await read("1,2,3,4,5")
    assert first == {n: message(n, sizes[n - 1]) for n in (1, 2, 3)}
    assert await read("4,5") == {n: message(n, sizes[n - 1]) for n in (4, 5)}
    assert await read("77") == {}
    for bad in ("", "x", "1,,2", "-1", "1:3"):
        assert (await world.call("GET", path, token=reader, uids=bad))[0] == 422
    assert (await world.call("GET", path, token=reader, uids=",".join(map(str, range(129)))))[0] == 400
    managing = await world.scoped(f"domain:{world.domain}")
    assert (await world.call("GET", path, token=managing, uids="1"))[0] == 403
    assert (await world.audited("message.read_batch"))[0]["details"] == {"mailbox": "INBOX", "uids": [1, 5]}
