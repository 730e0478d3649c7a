"""Each query of the outbound queue has an index that leads to little more than its answer (MongoDB's own explain)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from mailboat_common.ids import uuid7
from storage_api.db import schema
from storage_api.db.driver import Database, Document
from storage_api.db.migrations import MIGRATIONS

WAITING = ["ready", "claimed", "held"]
DONE, EACH = 600, 20
LIST = {"sort": {"_id": 1}, "limit": 10}


@pytest.fixture
async def filled(db: Database) -> AsyncIterator[Database]:
    """Hundreds of done documents of one domain and sender, some that wait."""
    await db[schema.QUEUE].delete_many({})
    states = ["done"] * DONE + [state for state in WAITING for _ in range(EACH)]
    documents: list[Document] = []
    for number, state in enumerate(states):
        document: Document = {"_id": uuid7(), "t": f"t{number}", "state": state, "domain": "far.example"}
        document |= {"a": (number % 10).to_bytes(16, "big"), "reverse_path": "a@example.test", "created_at": number}
        documents.append(document | ({} if state in ("done", "held") else {"due": number}))
    await db[schema.QUEUE].insert_many(documents)
    yield db
    await db[schema.QUEUE].delete_many({})


def stages(plan: Any) -> list[Document]:
    """Every stage of a plan."""
    if isinstance(plan, dict):
        own = [plan] if "stage" in plan else []
        return own + [stage for value in plan.values() for stage in stages(value)]
    return [stage for one in plan for stage in stages(one)] if isinstance(plan, list) else []


@pytest.mark.parametrize(
    ("query", "more", "index", "examined"),
    [
        ({"state": {"$in": WAITING}}, LIST, "waiting", 10),
        ({"state": {"$in": ["held"]}}, LIST, "waiting", 10),
        ({"state": {"$in": WAITING}, "domain": "far.example"}, LIST, "waiting_domain", 10),
        ({"state": {"$in": ["held"]}, "domain": "far.example"}, LIST, "waiting waiting_domain", 3 * EACH),
        ({"state": {"$in": WAITING}, "reverse_path": "a@example.test"}, LIST, "waiting_sender", 10),
        ({"state": {"$in": ["done"]}, "domain": "far.example"}, LIST, "done_domain", 10),
        ({"state": {"$in": ["done"]}, "reverse_path": "a@example.test"}, LIST, "done_sender", 10),
        ({"state": "ready"}, {"sort": {"_id": 1}, "limit": 1}, "waiting", 1),
        ({"state": "ready", "due": {"$lte": DONE + 5}}, {"sort": {"due": 1}, "limit": 100}, "due", 6),
        ({"state": "claimed", "due": {"$lte": 10**9}}, {"sort": {"due": 1}, "limit": 100}, "due", EACH),
        ({"t": "t3"}, {}, "trace", 1),
        ({"a": bytes(16), "_id": {"$gte": bytes(16)}}, {}, "account", DONE // 10 + 10),
    ],
)
async def test_a_query_reads_little_more_than_its_answer(
    filled: Database, query: Document, more: Document, index: str, examined: int
) -> None:
    command = {"find": schema.QUEUE, "filter": query, **more}
    explained = await filled.command({"explain": command, "verbosity": "executionStats"})
    plan = stages(explained["queryPlanner"]["winningPlan"])
    assert {stage["indexName"] for stage in plan if stage["stage"] == "IXSCAN"} <= set(index.split())
    assert not {"SORT", "COLLSCAN"} & {stage["stage"] for stage in plan}
    assert explained["executionStats"]["totalDocsExamined"] <= examined


async def test_waiting_is_counted_without_documents(filled: Database) -> None:
    command = {"aggregate": schema.QUEUE, "pipeline": [{"$match": {"state": "ready"}}, {"$count": "n"}], "cursor": {}}
    explained = await filled.command({"explain": command, "verbosity": "executionStats"})
    text = str(explained)
    assert "'indexName': 'waiting'" in text or "'indexName': 'due'" in text


async def test_the_step_may_run_twice_and_leaves_the_needed_indexes(db: Database) -> None:
    step = dict(MIGRATIONS)["0007-queue-waiting"]
    await step(db)
    await step(db)
    found = await db.command({"listIndexes": schema.QUEUE})
    names = {index["name"] for index in found["cursor"]["firstBatch"]}
    wanted = {index.document["name"] for index in schema.QUEUE_INDEXES_WAITING[schema.QUEUE]}
    assert names == wanted | {"_id_", "due", "trace", "account", "content"}
