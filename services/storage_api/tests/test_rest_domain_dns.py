"""/v1/domains/{name}/dns and /dkim: what operators see of records and keys, and what nobody sees."""

from __future__ import annotations

import json

from tests.support.rest import World, world

__all__ = ["world"]


async def test_records_keys_and_rotation(world: World) -> None:
    path = f"/domains/{world.domain}"
    status, published = await world.call("GET", path + "/dns")
    assert (status, published["hostname"]) == (200, "localhost")
    assert sorted({record["purpose"] for record in published["records"]}) == [
        "dkim", "dmarc", "mta_sts", "mx", "spf", "srv", "tls_rpt",
    ]  # fmt: skip
    rsa = next(record for record in published["records"] if record["name"].endswith(f"-rsa._domainkey.{world.domain}"))
    assert "".join(rsa["strings"]) == rsa["value"]
    assert f"{world.domain}. 3600 IN MX 10 localhost.\n" in published["zone"]

    token = await world.scoped(f"domain:{world.domain}")
    status, rotated = await world.call("POST", path + "/dkim/rotate", token=token)
    assert (status, [key["state"] for key in rotated["keys"]]) == (200, ["active", "active", "pending", "pending"])
    status, active = await world.call("POST", path + "/dkim/activate", token=token)
    assert [key["state"] for key in active["keys"]] == ["active", "active", "retiring", "retiring"]
    assert (await world.call("GET", path + "/dkim", token=token))[1] == active
    assert (await world.call("POST", path + "/dkim/activate"))[0] == 409
    for answer in (published, rotated, active):
        assert "PRIVATE" not in json.dumps(answer)
    for action in ("domain.dkim.rotate", "domain.dkim.activate"):
        assert [entry["target"] for entry in await world.audited(action)][-1] == world.domain
    for method, what in (("GET", "/dns"), ("GET", "/dns/check"), ("GET", "/dkim"), ("POST", "/dkim/rotate")):
        assert (await world.call(method, f"/domains/nowhere.test{what}"))[0] == 404


async def test_the_check_asks_dns(world: World) -> None:
    path = f"/domains/{world.domain}/dns/check"
    status, checked = await world.call("GET", path)
    assert (status, checked["ok"]) == (200, False)
    topics = [finding["topic"] for finding in checked["findings"] if finding["level"] == "error"]
    assert topics == ["host", "mx", "spf", "dkim", "dkim"]
    world.dns.add(f'{world.domain}. 60 TXT "v=spf1 -all"')
    (spf,) = [one for one in (await world.call("GET", path))[1]["findings"] if one["topic"] == "spf"]
    assert (spf["level"], spf["expected"], spf["found"]) == ("error", "v=spf1 mx ~all", ["v=spf1 -all"])
