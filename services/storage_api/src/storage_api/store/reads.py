"""The MailboxRead port on MongoDB.

Every answer that comes from more than one document is read in one fresh snapshot session, and carries the head's
modseq of that snapshot as the new sync point (store.md, rule 5). "Changes since N" reads only pages whose max_modseq is
above N. Reads take no part in transactions and block nobody.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

from mailboat_common.errors import Internal, Refused, RefusedCode
from mailboat_store_client import names
from mailboat_store_client.annotations import SPECIAL_USE
from mailboat_store_client.columns import U32, ranges, unpack
from mailboat_store_client.types import (
    DEAD,
    AccountId,
    BodyField,
    BodyId,
    BodyInfo,
    Columns,
    FlagTable,
    MailboxChanges,
    MailboxHead,
    MailboxId,
    MailboxTree,
    Quota,
    SpecialUse,
    Vanished,
)

from ..db import schema
from ..db.driver import Database, Document, Session
from . import rows as columns_of
from .annotations import entries_of
from .bodies import Bodies
from .failures import guarded, guarded_stream
from .pages import IMMUTABLE, MUTABLE, living, page_id, page_id_range, split_page_id, unpack_page, unpack_tail
from .recent import JOIN, first_recents, joined_first
from .retention import least_retention, retention_of

_HEAD_FIELDS = {"tail": 0, "pages": 0}


class MongoMailboxRead:
    """Reads of one database."""

    def __init__(self, db: Database, bodies: Bodies) -> None:
        self._db = db
        self._bodies = bodies

    @guarded
    async def tree(self, account_id: AccountId) -> MailboxTree:
        """All mailboxes, sorted by name, INBOX first."""
        async with self._db.snapshot() as session:
            account = await self._account(account_id, session)
            query = {"a": account_id, "name": {"$gt": ""}}
            found = await self._db[schema.MAILBOXES].find(query, _HEAD_FIELDS, session=session)
            firsts = await first_recents(self._db, session, account_id)
        heads = [head_of(document, firsts.get(document["_id"], 1)) for document in found]
        heads.sort(key=lambda head: names.sort_key(head.name))
        subscribed = [*account["other_subscriptions"], *(head.name for head in heads if head.subscribed)]
        return MailboxTree(account["tree_version"], tuple(heads), tuple(sorted(subscribed)))

    @guarded
    async def head(self, account_id: AccountId, name: str) -> MailboxHead:
        """One mailbox by name. Refused NO_MAILBOX if there is none."""
        query = {"a": account_id, "name": names.canonical(name)}
        async with self._db.snapshot() as session:
            pipeline: list[Document] = [{"$match": query}, {"$project": _HEAD_FIELDS}, JOIN]
            found = await self._db[schema.MAILBOXES].aggregate(pipeline, session=session)
            if not found:
                await self._account(account_id, session)
                raise Refused(RefusedCode.NO_MAILBOX, "Mailbox doesn't exist")
            return head_of(found[0], joined_first(found[0]))

    @guarded
    async def changes(self, account_id: AccountId, mailbox_id: MailboxId, since: int) -> MailboxChanges:
        """Everything after modseq `since`; 0 loads the whole mailbox."""
        async with self._db.snapshot() as session:
            document = await self._alive(account_id, mailbox_id, session)
            head = head_of(document, joined_first(document))
            if since >= head.highest_modseq:
                return MailboxChanges(head, since, Columns(), array("I"))
            below_floor = 0 < since < document["vanished_floor"]
            if since == 0 or below_floor:
                everything = columns_of.joined(await self._pages(mailbox_id, document, session))
                changed = _since(everything, since) if since else everything
                missing = _missing(everything.uids, head.uid_next) if below_floor else array("I")
                return MailboxChanges(head, since, columns_of.trim(changed), missing, below_floor)
            pieces = await self._changed_pages(account_id, mailbox_id, since, session)
            pieces.append(_since(unpack_tail(document["tail"]), since))
            vanished = await self._vanished(account_id, mailbox_id, since, session)
        return MailboxChanges(head, since, columns_of.joined(pieces), vanished)

    @guarded
    async def vanished(self, account_id: AccountId, mailbox_id: MailboxId, since: int) -> Vanished:
        """The UIDs removed after modseq `since`."""
        async with self._db.snapshot() as session:
            document = await self._alive(account_id, mailbox_id, session)
            modseq = document["highest_modseq"]
            if since >= modseq:
                return Vanished(modseq, ())
            if since < document["vanished_floor"]:
                living_uids = columns_of.joined(await self._pages(mailbox_id, document, session)).uids
                return Vanished(modseq, _gaps(living_uids, document["uid_next"]), floor_reached=True)
            return Vanished(modseq, ranges(await self._vanished(account_id, mailbox_id, since, session)))

    async def _alive(self, account_id: AccountId, mailbox_id: MailboxId, session: Session) -> Document:
        """The mailbox's document. Refused NO_MAILBOX once deleted."""
        pipeline = [{"$match": {"_id": mailbox_id}}, JOIN]
        found = await self._db[schema.MAILBOXES].aggregate(pipeline, session=session)
        document: Document | None = found[0] if found else None
        if document is None or document["a"] != account_id or document.get("deleted_at") is not None:
            raise Refused(RefusedCode.NO_MAILBOX, "Mailbox doesn't exist")
        return document

    async def _pages(self, mailbox_id: MailboxId, document: Document, session: Session) -> list[Columns]:
        """All living rows, in UID order."""
        pieces: list[Columns] = []
        if document["pages"]:
            first, last = page_id_range(mailbox_id)
            query = {"_id": {"$gte": first, "$lte": last}}
            found = await self._db[schema.PAGES].find(query, session=session, sort=[("_id", 1)])
            if len(found) % 2:
                raise Internal(f"mailbox {mailbox_id.hex()} has a page of one document")
            pieces = [_living(unpack_page(a, b)) for a, b in zip(found[::2], found[1::2], strict=True)]
        pieces.append(unpack_tail(document["tail"]))
        return pieces

    async def _changed_pages(
        self, account_id: AccountId, mailbox_id: MailboxId, since: int, session: Session
    ) -> list[Columns]:
        query = {"a": account_id, "m": mailbox_id, "max_modseq": {"$gt": since}}
        mutable = await self._db[schema.PAGES].find(query, session=session, hint="changes")
        if not mutable:
            return []
        numbers = sorted(split_page_id(page["_id"])[1] for page in mutable)
        ids = [page_id(mailbox_id, number, IMMUTABLE) for number in numbers]
        immutable = await self._db[schema.PAGES].find({"_id": {"$in": ids}}, session=session)
        by_id = {page["_id"]: page for page in (*mutable, *immutable)}
        out = []
        for number in numbers:
            both = [by_id.get(page_id(mailbox_id, number, kind)) for kind in (IMMUTABLE, MUTABLE)]
            if both[0] is None or both[1] is None:
                raise Internal(f"page {number} of mailbox {mailbox_id.hex()} is incomplete")
            out.append(_since(unpack_page(both[0], both[1]), since))
        return out

    async def _vanished(self, account_id: AccountId, mailbox_id: MailboxId, since: int, session: Session) -> array[int]:
        query = {"a": account_id, "m": mailbox_id, "modseq": {"$gt": since}}
        found = await self._db[schema.VANISHED].find(query, {"u": 1}, session=session, hint="changes")
        uids: array[int] = array("I")
        for document in found:
            uids.extend(unpack(U32, document["u"]))
        return array("I", sorted(uids)) if len(found) > 1 else uids

    @guarded
    async def poll(self, wanted: Sequence[tuple[AccountId, MailboxId, int]]) -> list[tuple[MailboxId, int]]:
        """Of those asked for: the mailboxes whose highest_modseq is higher, with it; -1 for those that are deleted or
        whose account is disabled.
        """
        ids = [mailbox_id for _, mailbox_id, _ in wanted]
        fields = {"highest_modseq": 1, "a": 1, "deleted_at": 1}
        closed = {"_id": {"$in": list({account_id for account_id, _, _ in wanted})}, "disabled": True}
        async with self._db.snapshot() as session:
            found = await self._db[schema.MAILBOXES].find({"_id": {"$in": ids}}, fields, session=session)
            disabled = {d["_id"] for d in await self._db[schema.ACCOUNTS].find(closed, {"_id": 1}, session=session)}
        alive = {
            (d["a"], d["_id"]): d["highest_modseq"]
            for d in found
            if d.get("deleted_at") is None and d["a"] not in disabled
        }
        out = []
        for account_id, mailbox_id, known in wanted:
            modseq = alive.get((account_id, mailbox_id), -1)
            if modseq == -1 or modseq > known:
                out.append((mailbox_id, modseq))
        return out

    @guarded
    async def annotations(self, account_id: AccountId, name: str) -> dict[str, bytes]:
        """All annotations of a mailbox, its special use among them; of the account itself with name ""."""
        async with self._db.snapshot() as session:
            await self._account(account_id, session)
            owner: bytes = account_id
            use: dict[str, bytes] = {}
            if name:
                query = {"a": account_id, "name": names.canonical(name)}
                mailbox = await self._db[schema.MAILBOXES].find_one(query, {"special_use": 1}, session=session)
                if mailbox is None:
                    raise Refused(RefusedCode.NO_MAILBOX, "Mailbox doesn't exist")
                owner = mailbox["_id"]
                if mailbox.get("special_use"):
                    use = {SPECIAL_USE: mailbox["special_use"].encode("ascii")}
            document = await self._db[schema.ANNOTATIONS].find_one({"_id": owner}, session=session)
        return entries_of(document) | use

    @guarded
    async def quota(self, account_id: AccountId) -> Quota:
        """What the account uses and may use."""
        fields = {"usage": 1, "quota_bytes": 1, "quota_messages": 1, "deleted_at": 1}
        account = await self._db[schema.ACCOUNTS].find_one({"_id": account_id}, fields)
        if account is None or account.get("deleted_at") is not None:
            raise Refused(RefusedCode.NO_ACCOUNT, "No such account")
        return quota_of(account)

    @guarded
    async def body_infos(
        self, account_id: AccountId, body_ids: Sequence[BodyId], fields: BodyField
    ) -> list[BodyInfo | None]:
        """Rendered fields of up to 1,000 bodies, in order; None for one that is gone."""
        return await self._bodies.infos(account_id, body_ids, fields)

    @guarded
    async def contents(self, account_id: AccountId, body_ids: Sequence[BodyId], max_bytes: int) -> list[bytes | None]:
        """Whole messages, in order, up to `max_bytes` but at least one."""
        return await self._bodies.contents(account_id, body_ids, max_bytes)

    @guarded_stream
    async def read(
        self, account_id: AccountId, body_id: BodyId, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """A byte range of one message in chunks of about 64 KB."""
        async for chunk in self._bodies.read(account_id, body_id, offset, length):
            yield chunk

    @guarded
    async def maildrop_retention(self, account_id: AccountId | None) -> int | None:
        """Days after which what POP3 retrieved is removed; None: never."""
        return await (least_retention(self._db) if account_id is None else retention_of(self._db, account_id))

    async def _account(self, account_id: AccountId, session: Session) -> Document:
        fields = {"tree_version": 1, "other_subscriptions": 1, "deleted_at": 1}
        account = await self._db[schema.ACCOUNTS].find_one({"_id": account_id}, fields, session=session)
        if account is None or account.get("deleted_at") is not None:
            raise Refused(RefusedCode.NO_ACCOUNT, "No such account")
        return account


def quota_of(account: Document) -> Quota:
    """The quota in an account's document."""
    usage = account["usage"]
    return Quota(usage["bytes"], account.get("quota_bytes", 0), usage["messages"], account.get("quota_messages", 0))


def head_of(document: Document, first_recent_uid: int) -> MailboxHead:
    """A mailbox's document as callers see it."""
    keywords = document["keywords"]
    return MailboxHead(
        MailboxId(document["_id"]),
        document["name"],
        document["uid_validity"],
        document["uid_next"],
        document["highest_modseq"],
        document["messages"],
        document["unseen"],
        document["deleted"],
        document["size"],
        FlagTable(tuple(keywords), len(keywords)),
        SpecialUse(document["special_use"]) if document.get("special_use") else None,
        document["subscribed"],
        first_recent_uid,
        document.get("first_uid_validity", 0),
    )


def _living(columns: Columns) -> Columns:
    if max(columns.flags[0], default=0) < DEAD:
        return columns
    return columns_of.pick(columns, living(columns))


def _since(columns: Columns, since: int) -> Columns:
    """Living rows with a modseq above `since`."""
    flags = columns.flags[0]
    return columns_of.pick(
        columns, [row for row, modseq in enumerate(columns.modseqs) if modseq > since and flags[row] < DEAD]
    )


def _missing(uids: array[int], uid_next: int) -> array[int]:
    """Every UID under `uid_next` that isn't there (RFC 7162 3.2.10 allows to say so)."""
    return array("I", sorted(set(range(1, uid_next)).difference(uids)))


def _gaps(uids: array[int], uid_next: int) -> tuple[tuple[int, int], ...]:
    """The ranges of UIDs under `uid_next` that aren't among the ascending `uids`."""
    edges = pairwise([0, *uids, uid_next])
    return tuple((low + 1, high - 1) for low, high in edges if high - low > 1)
