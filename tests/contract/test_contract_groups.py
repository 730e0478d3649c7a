"""Contract of groups: who may write to one, and what Deliver makes of it."""

from mailboat_store_client.types import BY_ADDRESS, AccountId, DeliveryStatus, RecipientStatus

from tests.contract.test_contract_delivery import envelope
from tests.support.contract import MESSAGE, World, key


async def resolve(world: World, address: str, sender: str, account: AccountId | None = None) -> RecipientStatus:
    more = {} if account is None else {"account_id": account}
    (found,) = await world.store.directory.resolve([address], sender=sender, **more)
    assert found.address == address
    assert (found.account_id == BY_ADDRESS) == (found.status is RecipientStatus.LOCAL)
    return found.status


async def test_a_group_may_take_mail_from_some_only(world: World) -> None:
    other, other_address = await world.make_account(0, 0)
    members = [world.address, "x@far.example"]
    everyone = await world.make_group(members, "anyone")
    assert await resolve(world, everyone, "ann@elsewhere.example") is RecipientStatus.LOCAL
    closed = await world.make_group(members, "members")
    assert await resolve(world, closed, "ann@elsewhere.example") is RecipientStatus.NOT_PERMITTED
    assert await resolve(world, closed, world.address) is RecipientStatus.NOT_PERMITTED  # not logged in
    assert await resolve(world, closed, world.address, world.account) is RecipientStatus.LOCAL
    assert await resolve(world, closed, other_address, other) is RecipientStatus.NOT_PERMITTED
    assert await resolve(world, closed, "x@far.example") is RecipientStatus.LOCAL
    inside = await world.make_group(members, "domain")
    assert await resolve(world, inside, other_address, other) is RecipientStatus.LOCAL
    assert await resolve(world, inside, "x@far.example") is RecipientStatus.NOT_PERMITTED
    (found,) = await world.store.directory.resolve([inside], sender=other_address, account_id=other)
    assert found.restricted
    assert await resolve(world, await world.make_group([], "anyone"), "x@far.example") is RecipientStatus.UNKNOWN


async def test_each_account_of_a_group_gets_one_copy(world: World) -> None:
    _, other_address = await world.make_account(0, 0)
    inner = await world.make_group([world.address, other_address], "anyone")
    outer = await world.make_group([inner, world.address, "x@far.example"], "anyone")
    mail = envelope((outer, BY_ADDRESS), (world.address, world.account), (inner, BY_ADDRESS))
    for _ in range(2):  # a call that is repeated has no second effect
        result = await world.store.delivery.deliver(mail, MESSAGE)
        assert [one.address for one in result.recipients] == [outer, world.address, inner]
        assert [one.status for one in result.recipients] == [DeliveryStatus.FILED] * 3
    assert (await world.inbox()).head.messages == 1
    (job,) = await world.mail_out.jobs(mail.trace_id)
    (claimed,) = await world.store.queue.claim([job], "w", max_bytes=1 << 20, key=key())
    assert claimed is not None and claimed.content is not None
    assert [one.address for one in claimed.recipients] == ["x@far.example"]
    assert claimed.content == f"Delivered-To: {outer}\r\n".encode() + MESSAGE


async def test_what_comes_back_to_a_group_goes_no_further(world: World) -> None:
    group = await world.make_group([world.address], "anyone")
    content = f"Delivered-To: {group}\r\n".encode() + MESSAGE
    result = await world.store.delivery.deliver(envelope((group, BY_ADDRESS), content=content), content)
    assert [one.status for one in result.recipients] == [DeliveryStatus.LOOP]
    assert (await world.inbox()).head.messages == 0
