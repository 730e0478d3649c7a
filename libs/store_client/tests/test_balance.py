"""Which address gets a call."""

from __future__ import annotations

import asyncio

import pytest
from mailboat_store_client import balance
from mailboat_store_client.balance import Balancer, parse_url


class Names:
    """A resolver to be changed by the test."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names

    async def lookup(self, host: str, port: int) -> list[str]:
        if host not in self.names:
            raise OSError("no such name")
        return self.names[host]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def balancer(names: Names, *urls: str, clock: Clock | None = None) -> Balancer:
    made = Balancer(urls or ("http://api:81",), lookup=names.lookup, clock=clock or Clock())
    await made.refresh()
    return made


@pytest.mark.parametrize("url", ["api:81", "ftp://api", "http://", "http://api/path", "http://:80"])
def test_an_address_must_be_one(url: str) -> None:
    with pytest.raises(ValueError):
        parse_url(url)


async def test_all_addresses_of_all_names_are_known() -> None:
    made = await balancer(Names(a=["10.0.0.1", "10.0.0.2"], b=["[fd00::1]"]), "http://a:81", "https://b")
    assert sorted(a.url for a in made.addresses) == [
        "http://10.0.0.1:81",
        "http://10.0.0.2:81",
        "https://[fd00::1]:443",
    ]


async def test_only_the_share_of_a_lost_address_moves() -> None:
    names = Names(api=[f"10.0.0.{i}" for i in range(1, 6)])
    made = await balancer(names)
    keys = [bytes([i // 256, i % 256]) * 8 for i in range(1000)]
    before = {key: made.for_key(key).url for key in keys}
    counts = [list(before.values()).count(a.url) for a in made.addresses]
    assert min(counts) > 120
    names.names["api"].remove("10.0.0.3")
    await made.refresh()
    for key in keys:
        if before[key] != "http://10.0.0.3:81":
            assert made.for_key(key).url == before[key]
        else:
            assert made.for_key(key).url != before[key]


async def test_a_failed_address_is_left_alone_for_a_while() -> None:
    clock = Clock()
    made = await balancer(Names(api=["10.0.0.1", "10.0.0.2"]), clock=clock)
    first = made.for_key(b"k")
    made.failed(first)
    assert made.for_key(b"k") is not first
    assert all(made.for_read() is not first for _ in range(20))
    clock.now += 0.3
    assert made.for_key(b"k") is first
    for _ in range(10):
        made.failed(first)
    assert first.down_until - clock.now == 5.0
    first.answered()
    assert made.for_key(b"k") is first


async def test_when_all_failed_any_is_better_than_none() -> None:
    made = await balancer(Names(api=["10.0.0.1", "10.0.0.2"]))
    for address in made.addresses:
        made.failed(address)
    one = made.for_read()
    assert one is not None
    other = made.for_read((one,))
    assert other is not None
    assert other is not one
    assert made.for_read((one, other)) is None


async def test_a_busy_address_gets_fewer_reads() -> None:
    made = await balancer(Names(api=["10.0.0.1", "10.0.0.2"]))
    busy, idle = made.addresses
    busy.in_flight = 10
    chosen = [made.for_read() for _ in range(200)]
    assert chosen.count(idle) > chosen.count(busy)


async def test_a_name_that_stops_resolving_keeps_its_addresses() -> None:
    names = Names(api=["10.0.0.1"])
    made = await balancer(names)
    kept = made.addresses
    del names.names["api"]
    await made.refresh()
    assert made.addresses == kept


async def test_a_refresh_tells_whether_the_addresses_changed() -> None:
    names = Names(api=["10.0.0.1", "10.0.0.2"])
    made = await balancer(names)
    (first, second) = made.addresses
    assert not await made.refresh()
    assert made.addresses == [first, second]
    names.names["api"] = ["10.0.0.2", "10.0.0.3"]
    assert await made.refresh()
    assert made.addresses[0] is second
    assert made.addresses[1].url == "http://10.0.0.3:81"


async def test_a_name_that_does_not_resolve_hinders_no_other() -> None:
    names = Names(a=["10.0.0.1"], b=["10.0.1.1"])
    made = await balancer(names, "http://a:81", "http://b:81")
    del names.names["a"]
    names.names["b"] = ["10.0.1.2"]
    assert await made.refresh()
    assert [address.url for address in made.addresses] == ["http://10.0.0.1:81", "http://10.0.1.2:81"]


async def test_a_lookup_that_hangs_holds_no_other_name_and_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "LOOKUP_SECONDS", 0.02)
    begun: list[str] = []
    answered = asyncio.Event()

    async def lookup(host: str, port: int) -> list[str]:
        begun.append(host)
        if host == "slow":
            await answered.wait()
        return [f"10.0.{len(host)}.{begun.count(host)}"]

    made = Balancer(["http://slow", "http://quick"], lookup=lookup)
    await made.refresh()
    await made.refresh()
    assert [address.url for address in made.addresses] == ["http://10.0.5.2:80"]
    assert begun == ["slow", "quick", "quick"]
    answered.set()
    await made.refresh()
    assert sorted(address.url for address in made.addresses) == ["http://10.0.4.1:80", "http://10.0.5.3:80"]
    answered.clear()
    await made.refresh()
    await made.close()
    assert begun.count("slow") == 2
