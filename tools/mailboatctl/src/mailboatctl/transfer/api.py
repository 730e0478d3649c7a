"""What moving mail asks of the REST API, of one account: mailboxes, many messages at once, and the bytes of one.

A batch is safe to send again, so what fails for a while is tried again; a transfer may last longer than a roll-out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mailboatctl.client import Client, segment
from mailboatctl.errors import ApiRefused, Unreachable

MESSAGES = "application/vnd.mailboat.messages"
TRIES = 8
LONGEST_PAUSE = 30.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Upload:
    """A message for the API. `key`: its idempotency key."""

    key: str
    content: bytes
    flags: tuple[str, ...]
    date: int | None

    def framed(self) -> bytes:
        """As it stands in a batch: a line of JSON, and the bytes."""
        line = {"size": len(self.content), "key": self.key, "flags": self.flags, "internal_date": self.date}
        return json.dumps(line, separators=(",", ":")).encode() + b"\n" + self.content


class AccountApi:
    """The API as far as it concerns one account. May be used by several threads."""

    def __init__(self, client: Client, address: str, pause: Callable[[float], None]) -> None:
        self._client = client
        self._root = f"/v1/accounts/{segment(address)}"
        self._pause = pause

    def account_id(self) -> str:
        """The account's identifier, which no other account has, here or anywhere. Raises ApiRefused."""
        return str(self._again(lambda: self._client.call("GET", self._root))["id"])

    def mailboxes(self) -> list[dict[str, Any]]:
        """All mailboxes. Raises ApiRefused (no such account, not permitted)."""
        answer = self._again(lambda: self._client.call("GET", f"{self._root}/mailboxes"))
        return list(answer["items"])

    def create(self, name: str) -> None:
        """Creates a mailbox; that it exists is fine."""
        try:
            self._again(lambda: self._client.call("POST", f"{self._root}/mailboxes", {"name": name}))
        except ApiRefused as refused:
            if refused.code != 409:
                raise

    def subscribe(self, name: str, subscribed: bool) -> None:
        """Subscribes or unsubscribes a mailbox."""
        path = f"{self._root}/mailboxes/{_name(name)}"
        self._again(lambda: self._client.call("PATCH", path, {"subscribed": subscribed}))

    def append(self, name: str, messages: Sequence[Upload]) -> list[dict[str, Any]]:
        """What became of each message: `result`, `uid`, `code`, `error`."""
        body = b"".join(message.framed() for message in messages)
        path = f"{self._root}/mailboxes/{_name(name)}/messages:batch"
        answer = self._again(lambda: self._client.send("POST", path, body, MESSAGES))
        return list(answer["results"])

    def messages(self, name: str) -> Iterator[dict[str, Any]]:
        """The messages of a mailbox, oldest first."""
        return self._client.items(f"{self._root}/mailboxes/{_name(name)}/messages", {"order": "oldest", "limit": "200"})

    def raw(self, message: str) -> bytes:
        """The bytes of a message, by its id."""
        return self._again(lambda: self._client.raw(f"{self._root}/messages/{segment(message)}/raw"))

    def contents(self, name: str, uids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """(UID, bytes) of messages, by ascending UIDs (128 at most); those that are gone are left out."""
        path = f"{self._root}/mailboxes/{_name(name)}/messages:batch?uids="
        left = list(uids)
        while left:
            asked = path + ",".join(map(str, left))
            found = list(_parsed(self._again(lambda asked=asked: self._client.raw(asked))))  # type: ignore[misc]
            yield from found
            left = [uid for uid in left if found and uid > found[-1][0]]

    def _again(self, call: Callable[[], T]) -> T:
        for number in range(TRIES - 1):
            try:
                return call()
            except Unreachable:
                self._pause(min(LONGEST_PAUSE, 0.5 * 2.0**number))
        return call()


def _parsed(body: bytes) -> Iterator[tuple[int, bytes]]:
    """(UID, bytes) of an answer with many messages. Raises Unreachable for one that isn't of the form."""
    at = 0
    while at < len(body):
        end = body.find(b"\n", at)
        try:
            line = json.loads(body[at:end] if end >= 0 else b"")
            uid, size = int(line["uid"]), int(line["size"])
        except (ValueError, TypeError, KeyError) as error:
            raise Unreachable("The API's answer is not what it should be.") from error
        at = end + 1 + size
        yield uid, body[end + 1 : at]


def _name(name: str) -> str:
    """A mailbox's name as one segment of a path."""
    return segment(name)
