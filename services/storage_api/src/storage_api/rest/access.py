"""Who may call what: one table, held to by `authorize` before anything of a request is looked at.

A row names the operation (its handler) and the ways in: the scopes of one way suffice together. `own` is the same
operation under `/v1/me`, where the account is the token's own. `domain:<name>` stands for the domain that the path
names (of an account's address, too); where only the query or the body names it, any domain's token gets as far as the
handler, which then looks at the name (`require_management`).

To add a route: its row here. A route without a row isn't served: `app.create_app` fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..directory.addresses import normalise_domain, parse
from ..tokens import DOMAIN, PLATFORM, QUEUE, READ_MAIL, SELF, SUBMIT, Token

THIS_DOMAIN = "domain:<name>"

Ways = tuple[tuple[str, ...], ...]

OPERATOR: Ways = ((PLATFORM,),)
MANAGER: Ways = ((PLATFORM,), (THIS_DOMAIN,))
READER: Ways = ((PLATFORM, READ_MAIL), (THIS_DOMAIN, READ_MAIL))
SENDER: Ways = ((PLATFORM, SUBMIT), (THIS_DOMAIN, SUBMIT))
QUEUE_OPERATOR: Ways = ((PLATFORM,), (QUEUE,))
OWNER: Ways = ((SELF,),)
OWN_SENDER: Ways = ((SELF,), (SUBMIT,))


@dataclass(frozen=True, slots=True)
class Access:
    """The ways to an operation, and to the same under `/v1/me` (none: it isn't there)."""

    ways: Ways = ()
    own: Ways = ()


TABLE: Mapping[str, Access] = {
    "add_domain": Access(OPERATOR),
    "list_domains": Access(OPERATOR),
    "show_domain": Access(OPERATOR),
    "change_domain": Access(OPERATOR),
    "remove_domain": Access(OPERATOR),
    "show_dns": Access(MANAGER),
    "check_dns": Access(MANAGER),
    "list_dkim_keys": Access(MANAGER),
    "rotate_dkim_keys": Access(MANAGER),
    "activate_dkim_keys": Access(MANAGER),
    "create_account": Access(MANAGER),
    "put_accounts": Access(MANAGER),
    "list_accounts": Access(MANAGER),
    "show_account": Access(MANAGER),
    "change_account": Access(MANAGER),
    "remove_account": Access(MANAGER),
    "add_alias": Access(MANAGER),
    "list_aliases": Access(MANAGER),
    "show_alias": Access(MANAGER),
    "remove_alias": Access(MANAGER),
    "create_group": Access(MANAGER),
    "list_groups": Access(MANAGER),
    "show_group": Access(MANAGER),
    "change_group": Access(MANAGER),
    "add_group_members": Access(MANAGER),
    "remove_group_member": Access(MANAGER),
    "remove_group": Access(MANAGER),
    "show_catch_all": Access(MANAGER),
    "set_catch_all": Access(MANAGER),
    "show_forwarding": Access(MANAGER, own=OWNER),
    "set_forwarding": Access(MANAGER, own=OWNER),
    "list_queue": Access(QUEUE_OPERATOR),
    "count_queue": Access(QUEUE_OPERATOR),
    "show_queued": Access(QUEUE_OPERATOR),
    "retry_queue": Access(QUEUE_OPERATOR),
    "hold_queue": Access(QUEUE_OPERATOR),
    "release_queue": Access(QUEUE_OPERATOR),
    "reroute_queue": Access(QUEUE_OPERATOR),
    "remove_queue": Access(QUEUE_OPERATOR),
    "bounce_queue": Access(QUEUE_OPERATOR),
    "list_transports": Access(QUEUE_OPERATOR),
    "put_transport": Access(OPERATOR),
    "show_transport": Access(QUEUE_OPERATOR),
    "remove_transport": Access(OPERATOR),
    "list_suppressions": Access(QUEUE_OPERATOR),
    "show_suppression": Access(QUEUE_OPERATOR),
    "put_suppression": Access(QUEUE_OPERATOR),
    "remove_suppression": Access(QUEUE_OPERATOR),
    "create_token": Access(OPERATOR),
    "list_tokens": Access(OPERATOR),
    "revoke_token": Access(OPERATOR),
    "stream_events": Access(MANAGER, own=OWNER),
    "create_webhook": Access(MANAGER),
    "list_webhooks": Access(MANAGER),
    "show_webhook": Access(MANAGER),
    "pause_webhook": Access(MANAGER),
    "resume_webhook": Access(MANAGER),
    "replay_webhook": Access(MANAGER),
    "rotate_webhook_secret": Access(MANAGER),
    "test_webhook": Access(MANAGER),
    "remove_webhook": Access(MANAGER),
    "list_mailboxes": Access(MANAGER, own=OWNER),
    "create_mailbox": Access(MANAGER, own=OWNER),
    "show_mailbox": Access(MANAGER, own=OWNER),
    "change_mailbox": Access(MANAGER, own=OWNER),
    "remove_mailbox": Access(MANAGER, own=OWNER),
    "append_message": Access(MANAGER, own=OWNER),
    "append_messages": Access(MANAGER, own=OWNER),
    "read_messages": Access(READER, own=OWNER),
    "list_messages": Access(READER, own=OWNER),
    "list_removed": Access(MANAGER, own=OWNER),
    "read_raw": Access(READER, own=OWNER),
    "read_part": Access(READER, own=OWNER),
    "show_message": Access(READER, own=OWNER),
    "change_flags": Access(READER, own=OWNER),
    "move_message": Access(READER, own=OWNER),
    "copy_message": Access(READER, own=OWNER),
    "remove_message": Access(READER, own=OWNER),
    "search_messages": Access(READER, own=OWNER),
    "submit_message": Access(SENDER, own=OWN_SENDER),
    "submit_raw": Access(SENDER, own=OWN_SENDER),
    "show_me": Access(own=OWNER),
    "change_password": Access(own=OWNER),
    "raw_message": Access(READER),
    "show_trace": Access(OPERATOR),
    "audit": Access(OPERATOR),
    "begin_restore": Access(OPERATOR),
    "list_restores": Access(OPERATOR),
    "show_restore": Access(OPERATOR),
}


def permits(ways: Ways, token: Token, domain: str | None) -> bool:
    """Whether the token has all scopes of one of the ways. `domain`: the path's, None if it names none."""
    return any(all(_has(token, scope, domain) for scope in way) for way in ways)


def _has(token: Token, scope: str, domain: str | None) -> bool:
    if scope != THIS_DOMAIN:
        return scope in token.scopes
    if domain is None:
        return any(held.startswith(DOMAIN) for held in token.scopes)
    return f"{DOMAIN}{domain}" in token.scopes


def domain_of(path: str, params: Mapping[str, str]) -> str | None:
    """The domain that a route's path names: "" for one that is none, None if the path has no place for it."""
    if "address" in params:
        parsed = parse(params["address"])
        return parsed.domain if parsed else ""
    if "/domains/{name" in path:
        return normalise_domain(params["name"]) or ""
    return None


def lacking(ways: Ways, token: Token, domain: str | None) -> str:
    """What to ask for: the missing scopes of the way that lacks fewest."""
    missing = [[scope for scope in way if not _has(token, scope, domain)] for way in ways]
    fewest = min(len(scopes) for scopes in missing)
    named = [" and ".join(scopes) for scopes in missing if len(scopes) == fewest]
    return " or ".join(named).replace(THIS_DOMAIN, f"domain:{domain}" if domain else THIS_DOMAIN)
