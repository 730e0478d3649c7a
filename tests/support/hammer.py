"""Random mutations of one account, for tests that run several processes against one store.

As a module it is a process of its own: `python -m tests.support.hammer URI DATABASE ACCOUNT SEED TURNS [CRASH_POINT]`.
It prints a line `acked TAG` for each message whose delivery was answered, after the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from collections.abc import Callable

from mailboat_common import crash
from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import trace_id
from mailboat_store_client.types import (
    AccountId,
    AppendMessage,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    FlagMode,
    MailboxId,
)
from storage_api.db.driver import connect
from storage_api.store.compaction import compact_due
from storage_api.store.mongo import MongoStore

FLAGS = ("\\Seen", "\\Flagged", "\\Deleted", "kw1", "kw2")
MAILBOXES = ("INBOX", "Archive")
FAR_FUTURE = 1 << 50


def message(tag: str) -> bytes:
    """A message that names its tag."""
    return f"X-Tag: {tag}\r\nSubject: {tag}\r\n\r\n{tag}\r\n".encode()


def tag_of(content: bytes) -> str:
    """The tag of such a message."""
    return content.split(b"\r\n", 1)[0].removeprefix(b"X-Tag: ").decode()


async def hammer(store: MongoStore, account: AccountId, seed: int, turns: int, acked: Callable[[str], None]) -> None:
    """`turns` random mutations; calls `acked` with the tag of each message that was answered."""
    rng = random.Random(seed)
    ids = {name: (await store.read.head(account, name)).mailbox_id for name in MAILBOXES}
    for turn in range(turns):
        tag = f"{seed}-{turn}"
        name = rng.choice(MAILBOXES)
        top = (await store.read.head(account, name)).uid_next
        uids = rng.sample(range(1, top + 1), min(top, rng.randint(1, 60)))
        key = rng.randbytes(16)
        what = rng.random()
        if what < 0.35:
            content = message(tag)
            recipient = EnvelopeRecipient("a@example.test", account)
            mail = Envelope(trace_id(), "", (recipient,), hashlib.sha256(content).digest())
            result = await store.delivery.deliver(mail, content)
            assert result.recipients[0].status is DeliveryStatus.FILED
            acked(tag)
        elif what < 0.5:
            tags = [f"{tag}-{number}" for number in range(rng.randint(1, 40))]
            await store.write.append(account, name, [AppendMessage(message(t)) for t in tags], key=key)
            for one in tags:
                acked(one)
        elif what < 0.7:
            flags = rng.sample(FLAGS, 2)
            await store.write.store_flags(account, ids[name], uids, rng.choice(list(FlagMode)), flags, key=key)
        elif what < 0.75:
            await replace(store, account, ids[name], uids[0], rng.choice(MAILBOXES), tag=tag, key=key, acked=acked)
        elif what < 0.88:
            await store.write.move(account, ids[name], uids, rng.choice(MAILBOXES), key=key)
        elif what < 0.96:
            await store.write.expunge(account, ids[name], uids, key=key, only_deleted=rng.random() < 0.5)
        else:
            await compact_due(store.db, store.committer, FAR_FUTURE)


async def replace(
    store: MongoStore,
    account: AccountId,
    mailbox_id: MailboxId,
    uid: int,
    target: str,
    *,
    tag: str,
    key: bytes,
    acked: Callable[[str], None],
) -> None:
    """Replace a message, if it is still there."""
    try:
        await store.write.replace(account, mailbox_id, uid, target, AppendMessage(message(tag)), key=key)
    except Refused as refused:
        assert refused.code is RefusedCode.NO_MESSAGE
        return
    acked(tag)


async def _main(uri: str, database: str, *rest: str) -> None:
    account, seed, turns, *point = rest
    store = MongoStore(connect(uri, app="hammer", database=database))
    if point:
        crash.arm(point[0])
    try:
        await hammer(
            store,
            AccountId(bytes.fromhex(account)),
            int(seed),
            int(turns),
            lambda tag: print("acked", tag, flush=True),
        )
    except Refused as refused:
        print("refused", refused, flush=True)
        raise
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
