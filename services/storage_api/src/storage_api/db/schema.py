"""Collections, their fields and their indexes.

`a` is the account's id in every document that belongs to one account, and the first field of every unique key but
`_id` (store.md, rule 16). Times are milliseconds since the epoch, but for TTL fields, which must be BSON dates.

mailboxes   _id mailbox id, a, name (absent once deleted), uid_validity, uid_next, highest_modseq, messages, unseen,
            deleted, size, keywords [str], special_use, subscribed, tail (pages.pack_tail: the newest <= 32 entries),
            pages (pages.pack_directory: one 12-byte record a page), vanished_floor, compact_at (a page is over half
            dead since), deleted_at, old_name, first_uid_validity (that it was made with; absent: the same still)
pages       _id mailbox id + page number (u32, big-endian) + kind (b"i" immutable, b"m" mutable), a, m (mailbox id)
            b"i": u uids, b body ids, i internal dates, s save dates, z sizes
            b"m": max_modseq, q modseqs, f [flag words]; bit 63 of word 0 is the dead bit
vanished    _id mailbox id + modseq (u64, big-endian) + part (u16, big-endian), a, m, modseq, at (ms), reason, u, b, i,
            s, z, f as in pages, target {m mailbox id, u packed uids} of a move
bodies      see store/bodies.py
blobs, blob_chunks   see store/blobs.py
gc          see store/gc.py
dedupe      _id {a, k: key}, kind, r result, expires (date); also duplicate keys of deliveries: k is a 32-byte digest,
            trace the first transaction's id, confirmed (its client has read our 250)
accepted    _id trace id, at (ms), next_attempt (ms), envelope, pending [{address, a, mailbox, notify,
            orcpt}], size, always [account ids that take it over their quota too]
accepted_parts   _id {t: trace id, i: number}, data, at (ms)
queue       one message for one destination domain. _id (UUIDv7), t trace id, a (absent: no account of ours sent it),
            domain, reverse_path, envid, ret, smtputf8, eight_bit, size, created_at, expires_at,
            state ready | claimed | held | done, attempt (from 1: the next one, or the running one),
            recipients [{address, notify, orcpt, state pending | delivered | failed | removed, attempts,
            last {at, attempt, outcome, status, reply, reason, host, tls}, dsn_passed_on}], next_attempt,
            due (when the scheduler looks at it: to publish, or to take back a claim; absent when held or done),
            published_at, token, lease_until, worker, ended (the token's attempt was reported to its end), hold_reason
            (why it is held, if not because an operator said so), lapses
            (claims in a row that nobody reported), hold (claimed, to be held afterwards), route (an operator's, with
            its password until it is done) or route_of (a key of `transports` to look under instead of domain),
            content (small, and of one document) or content_id, done_at, expires (date; a done one's)
queue_parts _id content id + number (u32, big-endian), data, at (ms): a message kept once for its queue documents
            header (the first part of it, where content isn't), delay_told; a recipient that was dealt with is settled
notices     what a sender is to be told, until it is filed or queued: _id trace id of its own, at, due (ms), kind, about
            (the message's trace id), recipient, smtputf8, content, hold_reason (elsewhere it is held, and why)
suppressions     _id address (normalised), kind suppressed | allowed, reason, status, reply, host, trace, at (ms),
            expires (date; absent: never)
transports  _id domain or "*", host ("": the domain's MX), port, tls, username, password
outbox, stream, feeds, webhooks   see store/outbox.py and feed/
accounts    _id account id, usage {bytes, messages}, quota_bytes (0: none), quota_messages (0 or absent: none),
            tree_version, last_uid_validity, seq and seq_at (store/outbox.py), mailbox_count, inbox (mailbox id),
            other_subscriptions [names without a mailbox], disabled, deleted_at, removals_at, annotation_bytes
            (absent: 0); the directory adds its own fields
annotations _id mailbox id or account id, a, entries [{n name, v value}]; counted in the account's annotation_bytes
recent      _id mailbox id, a, first
leases      _id account id, token, holder, expires (date)
retrieved   _id mailbox id, a, oldest (day), f, l, d packed u32: first UID, last UID, day of first retrieval by POP3
            (store/retrieved.py). pop3_retention_days: an account's and a domain's days (store/retention.py)
migrations  _id name, at
restores    backups that were put back, and how far they are put right: see restored/restores.py. The mailboxes' and
            accounts' numbers that were raised then have gaps
"""

from __future__ import annotations

from .driver import IndexModel

ACCOUNTS = "accounts"
ANNOTATIONS = "annotations"
ACCEPTED = "accepted"
ACCEPTED_PARTS = "accepted_parts"
BLOBS = "blobs"
BLOB_CHUNKS = "blob_chunks"
BODIES = "bodies"
DEDUPE = "dedupe"
GC = "gc"
DOMAINS = "domains"  # the directory's; its policy is read where mail is removed
LEASES = "leases"
MAILBOXES = "mailboxes"
MIGRATIONS = "migrations"
NOTICES = "notices"
OUTBOX = "outbox"
PAGES = "pages"
QUEUE = "queue"
QUEUE_PARTS = "queue_parts"
STREAM = "stream"
FEEDS = "feeds"
WEBHOOKS = "webhooks"
RECENT = "recent"
RESTORES = "restores"
RETRIEVED = "retrieved"
SUPPRESSIONS = "suppressions"
TRANSPORTS = "transports"
VANISHED = "vanished"

INDEXES: dict[str, list[IndexModel]] = {
    MAILBOXES: [
        IndexModel([("a", 1)], name="account"),
        IndexModel(
            [("a", 1), ("name", 1)], name="name", unique=True, partialFilterExpression={"name": {"$exists": True}}
        ),
        IndexModel([("compact_at", 1)], name="compact", partialFilterExpression={"compact_at": {"$exists": True}}),
        IndexModel([("deleted_at", 1)], name="deleted", partialFilterExpression={"deleted_at": {"$exists": True}}),
    ],
    PAGES: [
        IndexModel(
            [("a", 1), ("m", 1), ("max_modseq", 1)],
            name="changes",
            partialFilterExpression={"max_modseq": {"$exists": True}},
        ),
    ],
    VANISHED: [
        IndexModel([("a", 1), ("m", 1), ("modseq", 1)], name="changes"),
        IndexModel([("at", 1)], name="age"),
    ],
    BODIES: [
        IndexModel([("a", 1), ("_id", 1)], name="account"),
        IndexModel(
            [("a", 1), ("dead_since", 1)], name="dead", partialFilterExpression={"dead_since": {"$exists": True}}
        ),
        IndexModel([("blobs", 1)], name="blobs", partialFilterExpression={"blobs": {"$exists": True}}),
    ],
    BLOBS: [],
    BLOB_CHUNKS: [],
    GC: [IndexModel([("due", 1)], name="due", partialFilterExpression={"due": {"$exists": True}})],
    DEDUPE: [
        IndexModel([("expires", 1)], name="expires", expireAfterSeconds=0),
        IndexModel([("trace", 1)], name="trace", partialFilterExpression={"trace": {"$exists": True}}),
    ],
    ACCEPTED: [IndexModel([("next_attempt", 1)], name="due")],
    ACCEPTED_PARTS: [IndexModel([("at", 1)], name="age")],
    ACCOUNTS: [
        IndexModel([("deleted_at", 1)], name="deleted", partialFilterExpression={"deleted_at": {"$exists": True}}),
        IndexModel([("removals_at", 1)], name="removals", partialFilterExpression={"removals_at": {"$exists": True}}),
    ],
    ANNOTATIONS: [IndexModel([("a", 1)], name="account")],
    RECENT: [IndexModel([("a", 1)], name="account")],
    LEASES: [],
}

RESTORE_INDEXES: dict[str, list[IndexModel]] = {RESTORES: []}
EVENT_INDEXES: dict[str, list[IndexModel]] = {OUTBOX: [], STREAM: [], FEEDS: [], WEBHOOKS: []}

_DAYS = IndexModel(
    [("pop3_retention_days", 1)],
    name="pop3_retention",
    partialFilterExpression={"pop3_retention_days": {"$exists": True}},
)
RETENTION_INDEXES: dict[str, list[IndexModel]] = {
    RETRIEVED: [IndexModel([("oldest", 1), ("_id", 1)], name="oldest")],
    ACCOUNTS: [_DAYS],
    DOMAINS: [_DAYS],
}

QUEUE_INDEXES: dict[str, list[IndexModel]] = {
    QUEUE: [
        IndexModel([("state", 1), ("due", 1)], name="due"),
        IndexModel([("state", 1), ("created_at", 1)], name="age"),
        IndexModel([("t", 1)], name="trace"),
        IndexModel([("a", 1), ("_id", 1)], name="account"),
        IndexModel([("state", 1), ("_id", 1)], name="list"),
        IndexModel([("domain", 1), ("state", 1), ("_id", 1)], name="list_domain"),
        IndexModel([("reverse_path", 1), ("state", 1), ("_id", 1)], name="list_sender"),
        IndexModel([("content_id", 1)], name="content", partialFilterExpression={"content_id": {"$exists": True}}),
        IndexModel([("expires", 1)], name="expires", expireAfterSeconds=0),
    ],
    QUEUE_PARTS: [IndexModel([("at", 1)], name="age")],
    TRANSPORTS: [],
}

NOTICE_INDEXES: dict[str, list[IndexModel]] = {
    NOTICES: [IndexModel([("due", 1)], name="due")],
    SUPPRESSIONS: [IndexModel([("expires", 1)], name="expires", expireAfterSeconds=0)],
}

_WAITING = {"state": {"$in": ["ready", "claimed", "held"]}}
_DONE = {"state": "done"}
QUEUE_INDEXES_WAITING: dict[str, list[IndexModel]] = {
    QUEUE: [
        # What waits is little beside what was done in 30 days; claims change no key of the lists by domain and sender.
        IndexModel([("state", 1), ("_id", 1)], name="waiting", partialFilterExpression=_WAITING),
        IndexModel([("domain", 1), ("_id", 1)], name="waiting_domain", partialFilterExpression=_WAITING),
        IndexModel([("reverse_path", 1), ("_id", 1)], name="waiting_sender", partialFilterExpression=_WAITING),
        IndexModel([("domain", 1), ("_id", 1)], name="done_domain", partialFilterExpression=_DONE),
        IndexModel([("reverse_path", 1), ("_id", 1)], name="done_sender", partialFilterExpression=_DONE),
        IndexModel([("expires", 1)], name="done_expires", expireAfterSeconds=0, partialFilterExpression=_DONE),
    ]
}
QUEUE_INDEXES_GONE = ["age", "list", "list_domain", "list_sender", "expires"]
"""In their place: all but `expires` changed with each state of each message; `age` had the order that `list` has."""
