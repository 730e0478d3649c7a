"""Contract of mail in: Deliver, Confirm, Directory, and POP3's maildrop lease."""

import hashlib
from dataclasses import replace

import pytest
from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import trace_id
from mailboat_store_client.types import (
    AccountId,
    AuthStatus,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    RecipientStatus,
)

from tests.support.contract import MESSAGE, World, key


def envelope(*recipients: tuple[str, AccountId], content: bytes = MESSAGE, mailbox: str | None = None) -> Envelope:
    return Envelope(
        trace_id(),
        "sender@elsewhere.example",
        tuple(EnvelopeRecipient(address, account_id, mailbox) for address, account_id in recipients),
        hashlib.sha256(content).digest(),
    )


async def test_deliver_files_for_each_recipient(world: World) -> None:
    other = await world.new_account()
    result = await world.store.delivery.deliver(
        envelope(("a@example.test", world.account), ("b@example.test", other)), MESSAGE
    )
    assert [r.status for r in result.recipients] == [DeliveryStatus.FILED] * 2
    assert [r.address for r in result.recipients] == ["a@example.test", "b@example.test"]
    for account in (world.account, other):
        head = await world.store.read.head(account, "INBOX")
        rows = (await world.store.read.changes(account, head.mailbox_id, 0)).changed
        assert await world.store.read.contents(account, [rows.body_id(0)], 1 << 20) == [MESSAGE]
        assert rows.words(0)[0] == 0


async def test_two_addresses_of_one_account_get_one_copy(world: World) -> None:
    result = await world.store.delivery.deliver(
        envelope(("a@example.test", world.account), ("a+x@example.test", world.account)), MESSAGE
    )
    assert [r.status for r in result.recipients] == [DeliveryStatus.FILED] * 2
    assert (await world.inbox()).head.messages == 1


async def test_plus_tag_names_a_mailbox_only_if_it_exists(world: World) -> None:
    await world.store.write.create(world.account, "Lists", key=key())
    await world.store.delivery.deliver(envelope(("a+lists@example.test", world.account), mailbox="lists"), MESSAGE)
    await world.store.delivery.deliver(
        envelope(("a+nope@example.test", world.account), mailbox="nope", content=b"x"), MESSAGE
    )
    assert (await world.store.read.head(world.account, "Lists")).messages == 1
    assert (await world.inbox()).head.messages == 1


async def test_the_same_transaction_again_has_no_second_effect(world: World) -> None:
    mail = envelope(("a@example.test", world.account))
    first = await world.store.delivery.deliver(mail, MESSAGE)
    again = await world.store.delivery.deliver(mail, MESSAGE)
    assert again.recipients[0].uid == first.recipients[0].uid
    assert again.recipients[0].status is DeliveryStatus.FILED
    assert (await world.inbox()).head.messages == 1


async def test_a_sender_that_never_saw_our_250_makes_no_second_copy_until_it_is_confirmed(world: World) -> None:
    first, second, third = (envelope(("a@example.test", world.account)) for _ in range(3))
    await world.store.delivery.deliver(first, MESSAGE)
    repeat = (await world.store.delivery.deliver(second, MESSAGE)).recipients[0]
    assert (repeat.status, repeat.duplicate_of) == (DeliveryStatus.DUPLICATE, first.trace_id)
    assert (await world.inbox()).head.messages == 1
    await world.store.delivery.confirm([first.trace_id])
    assert (await world.store.delivery.deliver(third, MESSAGE)).recipients[0].status is DeliveryStatus.FILED
    assert (await world.inbox()).head.messages == 2


async def test_a_confirmation_that_comes_with_the_delivery_counts_for_it(world: World) -> None:
    first = envelope(("a@example.test", world.account))
    await world.store.delivery.deliver(first, MESSAGE)
    again = replace(envelope(("a@example.test", world.account)), confirmed=(first.trace_id,))
    assert (await world.store.delivery.deliver(again, MESSAGE)).recipients[0].status is DeliveryStatus.FILED
    third = (await world.store.delivery.deliver(envelope(("a@example.test", world.account)), MESSAGE)).recipients[0]
    assert (third.status, third.duplicate_of) == (DeliveryStatus.DUPLICATE, again.trace_id)
    assert (await world.inbox()).head.messages == 2


async def test_an_offer_overtaken_by_its_own_repeat_makes_no_second_copy(world: World) -> None:
    """The sender gave the first offer up and came again; the first is still under way when the second is confirmed."""
    overtaken, repeat, deliberate = (envelope(("a@example.test", world.account)) for _ in range(3))
    await world.store.delivery.deliver(repeat, MESSAGE)
    await world.store.delivery.confirm([repeat.trace_id])
    late = (await world.store.delivery.deliver(overtaken, MESSAGE)).recipients[0]
    assert (late.status, late.duplicate_of) == (DeliveryStatus.DUPLICATE, repeat.trace_id)
    assert (await world.store.delivery.deliver(deliberate, MESSAGE)).recipients[0].status is DeliveryStatus.FILED
    assert (await world.inbox()).head.messages == 2


async def test_one_recipient_over_quota_does_not_hinder_the_other(world: World) -> None:
    poor = await world.new_account(quota=10)
    result = await world.store.delivery.deliver(
        envelope(("p@example.test", poor), ("a@example.test", world.account)), MESSAGE
    )
    assert [r.status for r in result.recipients] == [DeliveryStatus.OVER_QUOTA, DeliveryStatus.FILED]
    assert (await world.store.read.head(poor, "INBOX")).messages == 0


async def test_an_account_that_is_gone(world: World) -> None:
    result = await world.store.delivery.deliver(envelope(("x@example.test", AccountId(bytes(16)))), MESSAGE)
    assert result.recipients[0].status is DeliveryStatus.GONE


async def test_resolve(world: World) -> None:
    address = world.address
    local, domain = address.split("@")
    wanted = [
        address,
        f"{local.upper()}@{domain.upper()}",
        f"{local}+Tag@{domain}",
        f"nobody@{domain}",
        "x@elsewhere.example",
    ]
    got = await world.store.directory.resolve([*wanted, f"postmaster@{domain}", f"Abuse@{domain}"])
    assert [r.status for r in got] == [
        RecipientStatus.LOCAL,
        RecipientStatus.LOCAL,
        RecipientStatus.LOCAL,
        RecipientStatus.UNKNOWN,
        RecipientStatus.NOT_LOCAL,
        RecipientStatus.LOCAL,
        RecipientStatus.LOCAL,
    ]
    assert {r.account_id for r in got[:3]} == {world.account}
    assert [r.mailbox.casefold() if r.mailbox else None for r in got[:3]] == [None, None, "tag"]
    assert [r.address for r in got[:5]] == wanted


async def test_authenticate(world: World) -> None:
    ok = await world.store.directory.authenticate(
        world.address.upper(), world.password, protocol="imap", client="192.0.2.1"
    )
    assert (ok.status, ok.account_id, ok.login) == (AuthStatus.OK, world.account, world.address)
    for login, password in (
        (world.address, "wrong"),
        ("nobody@example.test", world.password),
        ("", ""),
        (world.address, ""),
    ):
        bad = await world.store.directory.authenticate(login, password, protocol="imap", client="192.0.2.2")
        assert (bad.status, bad.account_id) == (AuthStatus.BAD_CREDENTIALS, None)


async def test_owns(world: World) -> None:
    other = await world.new_account()
    local, domain = world.address.split("@")
    wanted = [world.address, f"{local}+tag@{domain}", f"nobody@{domain}", "x@elsewhere.example"]
    assert await world.store.directory.owns(world.account, wanted) == [True, True, False, False]
    assert await world.store.directory.owns(other, [world.address]) == [False]


async def test_maildrop_lease_is_exclusive_and_ends(world: World) -> None:
    write = world.store.write
    lease = await write.lease_maildrop(world.account, "pod-1", 60)
    with pytest.raises(Refused) as refused:
        await write.lease_maildrop(world.account, "pod-2", 60)
    assert refused.value.code is RefusedCode.IN_USE
    renewed = await write.renew_maildrop(world.account, lease.token, 120)
    assert renewed.expires_at > lease.expires_at
    await write.release_maildrop(world.account, b"not the token")
    with pytest.raises(Refused):
        await write.lease_maildrop(world.account, "pod-2", 60)
    await write.release_maildrop(world.account, lease.token)
    second = await write.lease_maildrop(world.account, "pod-2", 60)
    with pytest.raises(Refused) as refused:
        await write.renew_maildrop(world.account, lease.token, 60)
    assert refused.value.code is RefusedCode.IN_USE
    await write.release_maildrop(world.account, second.token)


async def test_maildrop_lease_is_given_again_to_the_holder_whose_answer_was_lost(world: World) -> None:
    write = world.store.write
    lost = await write.lease_maildrop(world.account, "pod-1 attempt-1", 60)
    lease = await write.lease_maildrop(world.account, "pod-1 attempt-1", 60)
    with pytest.raises(Refused):
        await write.lease_maildrop(world.account, "pod-1 attempt-2", 60)
    await write.release_maildrop(world.account, lost.token)
    assert (await write.renew_maildrop(world.account, lease.token, 60)).token == lease.token


async def test_maildrop_lease_of_a_dead_holder_runs_out(world: World) -> None:
    await world.store.write.lease_maildrop(world.account, "pod-1", 0)
    assert (await world.store.write.lease_maildrop(world.account, "pod-2", 60)).token
