"""Collections of everything around the store, and their indexes.

domains      _id name (A-labels), admin (an account's address, or absent), created_at (ms), pop3_retention_days,
             retention_removals (counted in the transactions that removed by it), catch_all (an address)
             dkim_changes (counted in the transactions that change the domain's keys)
dkim_keys    _id name of the TXT record, domain, selector, algorithm, public (p=), private (PKCS #8, PEM), state
             ("pending", "active", "retiring"), created_at, activated_at, retires_at (ms)
addresses    _id normalised address, domain, created_at (ms; not an account's own), and
             of an account: a account id, kind absent (its own address) or "alias"
             of a group: kind "group", members [address], who anyone | members | domain, owner (an address, or absent)
credentials  _id account id, a, hash, source (SHA-256 of the hash it was imported from, if any), updated_at (ms)
accounts     the store's document (`db/schema.py`) with address, domain, created_at (ms), imap_masked_capabilities [str]
             (absent: none), forward {to [address], keep} (absent: none)
secrets      _id "srs", keys [{k, at (ms)}] newest first: what signs the rewritten senders of forwarded mail
throttle     _id "c:…" (client address) or "l:…" (login), n failures, at (ms), until (ms), expires (date)
tokens       _id, name, hash (SHA-256), scopes [str], created_at (ms); of an account: a, account (its address then)
audit_log    _id uuid7, at (ms), actor, action, target, details
trace        _id uuid7, t trace id, at (ms), kind, a, m, uid, details, expires (date)
idempotency  _id SHA-256 of token and key, f the request's fingerprint, run (whoever works on it), m the mutation's key,
             until (ms; then `run` is dead), status, headers, body once it is done, expires (date)
"""

from __future__ import annotations

from ..db.driver import Database, IndexModel
from ..db.migrations import Step, create_collections

ADDRESSES = "addresses"
AUDIT_LOG = "audit_log"
CREDENTIALS = "credentials"
DKIM_KEYS = "dkim_keys"
DOMAINS = "domains"
IDEMPOTENCY = "idempotency"
SECRETS = "secrets"
THROTTLE = "throttle"
TOKENS = "tokens"
TRACE = "trace"

_EXPIRES = IndexModel([("expires", 1)], name="expires", expireAfterSeconds=0)

INDEXES: dict[str, list[IndexModel]] = {
    "accounts": [
        IndexModel(
            [("domain", 1), ("address", 1)],
            name="address",
            partialFilterExpression={"address": {"$exists": True}},
        ),
    ],
    DOMAINS: [],
    ADDRESSES: [
        IndexModel([("domain", 1)], name="domain"),
        IndexModel([("a", 1)], name="account"),
        IndexModel([("members", 1)], name="members", partialFilterExpression={"members": {"$exists": True}}),
        IndexModel([("kind", 1), ("_id", 1)], name="kind", partialFilterExpression={"kind": {"$exists": True}}),
    ],
    SECRETS: [],
    CREDENTIALS: [],
    THROTTLE: [_EXPIRES],
    TOKENS: [IndexModel([("hash", 1)], name="hash", unique=True)],
    AUDIT_LOG: [IndexModel([("at", 1)], name="at")],
    TRACE: [_EXPIRES, IndexModel([("t", 1), ("at", 1)], name="trace")],
}
IDEMPOTENCY_INDEXES = {IDEMPOTENCY: [_EXPIRES]}


DKIM_INDEXES: dict[str, list[IndexModel]] = {
    DKIM_KEYS: [IndexModel([("domain", 1)], name="domain"), IndexModel([("state", 1), ("domain", 1)], name="state")],
}


async def _directory(db: Database) -> None:
    await create_collections(db, INDEXES)


async def _idempotency(db: Database) -> None:
    await create_collections(db, IDEMPOTENCY_INDEXES)


async def _dkim(db: Database) -> None:
    await create_collections(db, DKIM_INDEXES)


async def _groups(db: Database) -> None:
    await create_collections(db, {ADDRESSES: INDEXES[ADDRESSES], SECRETS: []})


STEPS: list[tuple[str, Step]] = [
    ("0001-directory", _directory),
    ("0002-idempotency", _idempotency),
    ("0003-dkim", _dkim),
    ("0004-groups", _groups),
]
