"""What every client of MongoDB is built with, on both drivers."""

from __future__ import annotations

import pytest
from storage_api.db import driver


@pytest.mark.parametrize("name", ["pymongo", "motor"])
async def test_a_connection_to_a_dead_address_is_given_up_within_a_calls_time(name: str) -> None:
    """A pod that was replaced has another address, and its old one answers nothing: PyMongo's 20 s would eat most of
    the 30 s for which a call is held, and a second one all of them."""
    db = driver.connect("mongodb://127.0.0.1:1/", app="test", driver=name)
    assert db._client.options.pool_options.connect_timeout == driver.CONNECT_SECONDS
    assert 3 * driver.CONNECT_SECONDS < 30
    await db.close()


async def test_operations_and_selection_end_after_a_fail_over_and_not_before() -> None:
    db = driver.connect("mongodb://127.0.0.1:1/", app="test")
    options = db._client.options
    assert options.server_selection_timeout == driver.SELECTION_SECONDS > 30
    assert options.timeout == driver.OPERATION_SECONDS > 30
    await db.close()
