"""The mailbox users of the load: each appends, flags, copies, moves and expunges in its own account."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.auditor import Change, Kind, Removal, Transfer, token_of
from tests.faults.clients import Closed, ImapClient, Stuck, fetch_of
from tests.faults.compose import ARCHIVE, BOX, FLAGS, append_uid, archive_of, compose, copied_uids, uid_set

if TYPE_CHECKING:
    from tests.faults.load import Account, Load


COME_BACK = 0.03  # share of actions after which the user connects anew, to any pod


@dataclass(slots=True)
class _Entry:
    uid: int
    flags: frozenset[str]
    copied: bool = False


class MailboxUser:
    """One account's user: the only one who changes or removes entries there."""

    def __init__(self, load: Load, account: Account, rng: random.Random) -> None:
        self._load = load
        self._ledger = load.ledger
        self._account = account
        self._box = account.address
        self._rng = rng
        self._known: dict[str, _Entry] = {}
        self._doubtful: set[str] = set()
        self._met: set[str] = set()
        self._last_uid = 0

    async def run(self) -> None:
        client: ImapClient | None = None
        mix = self._load.mix
        actions = (self._append, self._store, self._expunge, self._copy, self._move)
        weights = (mix.append, mix.store, mix.expunge, mix.copy, mix.move)
        while not self._load.stopping:
            try:
                if client is None:
                    endpoint = self._rng.choice(self._load.sites.imap)
                    client = await ImapClient.connect(endpoint, self._account.address, self._account.password)
                    await client.command(f"CREATE {ARCHIVE}")  # NO once it is there
                    await client.select(BOX)
                    await self._learn(client)
                (action,) = self._rng.choices(actions, weights)
                await action(client)
                if self._rng.random() < COME_BACK:
                    client.close()
                    client = None
            except Closed as error:
                if isinstance(error, Stuck):
                    self._ledger.note(Kind.STUCK, self._box, f"IMAP: {error}")
                if client is not None:
                    client.close()
                client = None
            await self._load.pause(self._rng)
        if client is not None:
            client.close()

    async def _append(self, client: ImapClient) -> None:
        token = self._load.new_token()
        content = compose(token, self._rng, self._picture())
        message = self._ledger.offer(token, content, (self._box,), False, time.monotonic())
        message.flags = frozenset(self._rng.sample(FLAGS, self._rng.randint(0, 2)))
        message.offers = 1
        done = await client.append(BOX, content, " ".join(sorted(message.flags)))
        if done.status != "OK":
            return
        message.acked = time.monotonic()
        message.uid = append_uid(done)
        await self._learn(client)

    def _picture(self) -> int | None:
        return self._rng.randint(1, 5) if self._rng.random() < self._load.mix.large else None

    async def _learn(self, client: ImapClient) -> None:
        """What has arrived since the last look."""
        done = await client.command(f"UID FETCH {self._last_uid + 1}:* (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        for response in done.untagged:
            fetched = fetch_of(response)
            if fetched is None or fetched.literal is None or fetched.uid is None or fetched.uid <= self._last_uid:
                continue
            token = token_of(fetched.literal)
            if token in self._ledger.messages and token not in self._met:
                self._met.add(token)
                self._known[token] = _Entry(fetched.uid, self._ledger.messages[token].flags)
            self._last_uid = fetched.uid

    async def _store(self, client: ImapClient) -> None:
        flag, add = self._rng.choice(FLAGS), self._rng.random() < 0.6
        fitting = [token for token, entry in self._known.items() if (flag in entry.flags) != add]
        await self._change(client, self._some(fitting), flag, add)
        if self._rng.random() < 0.3:
            await self._learn(client)

    def _some(self, tokens: Sequence[str]) -> list[str]:
        usable = [token for token in tokens if token not in self._doubtful]
        count = self._rng.choice((1, self._rng.randint(1, self._load.mix.batch)))
        return self._rng.sample(usable, min(count, len(usable)))

    async def _change(self, client: ImapClient, tokens: Sequence[str], flag: str, add: bool) -> bool:
        if not tokens:
            return False
        now = time.monotonic()
        changes = {
            self._known[t].uid: Change(self._box, t, self._known[t].uid, add, frozenset({flag}), now) for t in tokens
        }
        self._ledger.changes += changes.values()
        self._doubtful |= set(tokens)
        done = await client.command(f"UID STORE {uid_set(changes)} {'+' if add else '-'}FLAGS ({flag})")
        if done.status != "OK":
            return False
        for response in done.untagged:
            fetched = fetch_of(response)
            if fetched is not None and fetched.uid in changes:
                changes[fetched.uid].modseq = fetched.modseq
        for change in changes.values():
            change.acked = time.monotonic()
            entry = self._known[change.token]
            entry.flags = entry.flags | change.flags if add else entry.flags - change.flags
        self._doubtful -= set(tokens)
        return True

    async def _expunge(self, client: ImapClient) -> None:
        tokens = self._some([token for token, entry in self._known.items() if "\\Deleted" not in entry.flags])
        if len(self._known) < 8 or not await self._change(client, tokens, "\\Deleted", True):
            return
        now = time.monotonic()
        uids = [self._known.pop(token).uid for token in tokens]
        removals = [Removal(self._box, token, uid, now) for token, uid in zip(tokens, uids, strict=True)]
        self._ledger.removals += removals
        done = await client.command(f"UID EXPUNGE {uid_set(uids)}")
        if done.status == "OK":
            for removal in removals:
                removal.acked = time.monotonic()

    async def _copy(self, client: ImapClient) -> None:
        await self._transfer(client, moved=False)

    async def _move(self, client: ImapClient) -> None:
        if len(self._known) >= 8:
            await self._transfer(client, moved=True)

    async def _transfer(self, client: ImapClient, *, moved: bool) -> None:
        tokens = self._some([token for token, entry in self._known.items() if not entry.copied])
        if not tokens:
            return
        now, target = time.monotonic(), archive_of(self._box)
        transfers = {
            entry.uid: Transfer(self._box, token, entry.uid, target, moved, entry.flags, now)
            for token, entry in ((token, self._known[token]) for token in tokens)
        }
        self._ledger.transfers += transfers.values()
        for token in tokens:
            self._known[token].copied = True
            if moved:
                del self._known[token]
        done = await client.command(f"UID {'MOVE' if moved else 'COPY'} {uid_set(transfers)} {ARCHIVE}")
        if done.status != "OK":
            return
        copies = copied_uids(done)
        for uid, transfer in transfers.items():
            transfer.acked = time.monotonic()
            transfer.target_uid = copies.get(uid)
