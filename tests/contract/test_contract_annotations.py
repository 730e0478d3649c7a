"""Contract of annotations: of mailboxes and of the account, set all or none, bounded, and gone with their mailbox."""

from __future__ import annotations

import pytest
from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.annotations import MAX_ENTRIES, MAX_OCTETS, MAX_VALUE
from mailboat_store_client.types import AccountId, AppendMessage, SpecialUse

from tests.support.contract import MESSAGE, World, key

COMMENT = "/private/comment"


async def annotate(world: World, name: str, values: dict[str, bytes | None]) -> None:
    await world.store.write.annotate(world.account, name, values, key=key())


async def refusal(world: World, name: str, values: dict[str, bytes | None]) -> RefusedCode:
    with pytest.raises(Refused) as refused:
        await annotate(world, name, values)
    return refused.value.code


async def test_annotations_of_mailboxes_and_of_the_account_are_apart(world: World) -> None:
    assert await world.store.read.annotations(world.account, "") == {}
    assert await world.store.read.annotations(world.account, "inbox") == {}
    await annotate(world, "INBOX", {COMMENT: b"in", "/shared/comment": b"\0\xff"})
    await annotate(world, "", {COMMENT: b"own"})
    await annotate(world, "Sent", {COMMENT: b""})
    other = await world.new_account()
    assert await world.store.read.annotations(other, "INBOX") == {}
    assert await world.store.read.annotations(world.account, "INBOX") == {COMMENT: b"in", "/shared/comment": b"\0\xff"}
    assert await world.store.read.annotations(world.account, "") == {COMMENT: b"own"}
    sent = await world.store.read.annotations(world.account, "Sent")
    assert sent == {COMMENT: b"", "/private/specialuse": b"\\Sent"}
    await annotate(world, "", {COMMENT: None, "/private/not-there": None})
    assert await world.store.read.annotations(world.account, "") == {}


async def test_names_compare_without_case_and_stay_as_first_written(world: World) -> None:
    await annotate(world, "INBOX", {"/private/Vendor/Ex/Colour": b"red"})
    await annotate(world, "INBOX", {"/PRIVATE/vendor/ex/colour": b"blue"})
    assert await world.store.read.annotations(world.account, "INBOX") == {"/private/Vendor/Ex/Colour": b"blue"}


async def test_a_repeat_has_no_second_effect(world: World) -> None:
    once = key()
    await world.store.write.annotate(world.account, "INBOX", {COMMENT: b"1"}, key=once)
    await annotate(world, "INBOX", {COMMENT: b"2"})
    await world.store.write.annotate(world.account, "INBOX", {COMMENT: b"1"}, key=once)
    assert await world.store.read.annotations(world.account, "INBOX") == {COMMENT: b"2"}


async def test_all_or_none(world: World) -> None:
    good: dict[str, bytes | None] = {COMMENT: b"x"}
    assert await refusal(world, "INBOX", good | {"/private/big": bytes(MAX_VALUE + 1)}) is RefusedCode.TOO_BIG
    assert await refusal(world, "INBOX", good | {"no-name": b""}) is RefusedCode.INVALID
    many: dict[str, bytes | None] = {f"/private/n{number}": b"" for number in range(MAX_ENTRIES)}
    assert await refusal(world, "INBOX", good | many) is RefusedCode.LIMIT
    count = MAX_OCTETS // MAX_VALUE
    large: dict[str, bytes | None] = {f"/private/n{number}": bytes(MAX_VALUE) for number in range(count)}
    assert await refusal(world, "INBOX", good | large) is RefusedCode.LIMIT
    assert await refusal(world, "Drafts", good | {"/private/specialuse": b"\\Sent"}) is RefusedCode.SPECIAL_USE
    assert await refusal(world, "Nowhere", good) is RefusedCode.NO_MAILBOX
    assert await world.store.read.annotations(world.account, "INBOX") == {}
    assert COMMENT not in await world.store.read.annotations(world.account, "Drafts")
    await annotate(world, "INBOX", dict(many))
    assert await refusal(world, "INBOX", good) is RefusedCode.LIMIT
    await annotate(world, "INBOX", {"/private/n0": None, **good})
    for name in ("", "INBOX"):
        with pytest.raises(Refused) as refused:
            await world.store.read.annotations(AccountId(bytes(16)), name)
        assert refused.value.code is RefusedCode.NO_ACCOUNT


async def test_an_account_has_room_for_so_many(world: World) -> None:
    full: dict[str, bytes | None] = {f"/private/n{number}": bytes(MAX_VALUE - 20) for number in range(8)}
    names = [f"box{number}" for number in range(33)]
    for name in names:
        await world.store.write.create(world.account, name, key=key())
    for name in names[:-1]:
        await annotate(world, name, full)
    assert await refusal(world, names[-1], full) is RefusedCode.LIMIT
    await world.store.write.delete(world.account, names[0], key=key())
    await annotate(world, names[-1], full)


async def test_they_follow_a_rename_and_end_with_a_delete(world: World) -> None:
    await world.store.write.create(world.account, "A/B", key=key())
    await annotate(world, "A/B", {COMMENT: b"here"})
    await world.store.write.rename(world.account, "A", "C", key=key())
    assert await world.store.read.annotations(world.account, "C/B") == {COMMENT: b"here"}
    await world.store.write.delete(world.account, "C/B", key=key())
    await world.store.write.create(world.account, "C/B", key=key())
    assert await world.store.read.annotations(world.account, "C/B") == {}


async def test_rename_of_inbox_copies_them(world: World) -> None:
    await world.store.write.append(world.account, "INBOX", [AppendMessage(MESSAGE)], key=key())
    await annotate(world, "INBOX", {COMMENT: b"kept"})
    await world.store.write.rename(world.account, "INBOX", "Old", key=key())
    await annotate(world, "INBOX", {COMMENT: b"new"})
    assert await world.store.read.annotations(world.account, "Old") == {COMMENT: b"kept"}
    assert await world.store.read.annotations(world.account, "INBOX") == {COMMENT: b"new"}


async def test_the_special_use_is_one_of_them(world: World) -> None:
    use = "/private/specialuse"

    async def used() -> dict[str, SpecialUse | None]:
        tree = await world.store.read.tree(world.account)
        return {head.name: head.special_use for head in tree.mailboxes}

    await world.store.write.create(world.account, "Gesendet", key=key())
    before = (await world.store.read.tree(world.account)).version
    for value in (b"\\Sent", b"\\Nonsense", b"", b"\\Flagged \\All"):
        assert await refusal(world, "Gesendet", {use: value}) is RefusedCode.SPECIAL_USE, value
    for name in ("INBOX", ""):
        assert await refusal(world, name, {use: b"\\Flagged"}) is RefusedCode.SPECIAL_USE, name
    await annotate(world, "Sent", {use: None})
    await annotate(world, "Gesendet", {use.upper(): b"\\sent", COMMENT: b"x"})
    assert (await used())["Gesendet"] is SpecialUse.SENT
    assert (await used())["Sent"] is None
    assert await world.store.read.annotations(world.account, "Gesendet") == {use: b"\\Sent", COMMENT: b"x"}
    assert (await world.store.read.tree(world.account)).version > before
    await annotate(world, "Gesendet", {use: b"\\Flagged"})
    await world.store.write.create(world.account, "Other", key=key(), special_use=SpecialUse.SENT)
    assert (await used())["Gesendet"] is SpecialUse.FLAGGED
