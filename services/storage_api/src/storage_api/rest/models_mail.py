"""What the API shows of mailboxes and messages, and what it takes. Times are milliseconds since the epoch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mailboat_common.ids import encode_id
from mailboat_store_client.types import MailboxHead
from pydantic import BaseModel, Field, model_validator

from .models import Strict, example

Use = Literal["\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash", "\\Important"]
MailboxName = Annotated[str, Field(min_length=1, max_length=1000)]
# RFC 9051 9: an atom, with a backslash before it or none; in a form that every dialect of JSON Schema's patterns reads.
Flag = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\\?[!#$&'+-Z\[^-z|}~]+$")]

MAX_FLAGS = 64
Flags = Annotated[list[Flag], Field(max_length=MAX_FLAGS)]
# Not a tuple: its description (prefixItems) is lost on many makers of clients.
UidRange = Annotated[list[int], Field(min_length=2, max_length=2)]

_MAILBOX: dict[str, Any] = {
    "id": "1vjrg9gsmwgr2yj6zc38mvxq54",
    "name": "INBOX",
    "messages": 42,
    "unseen": 3,
    "size": 123456,
    "uid_validity": 1764115200,
    "uid_next": 43,
    "highest_modseq": 97,
    "special_use": None,
    "subscribed": True,
    "keywords": ["invoice"],
}
_MESSAGE: dict[str, Any] = {
    "id": "1vjrg9gsmwgr2yj6zc38mvxq54.17",
    "mailbox": "INBOX",
    "uid": 17,
    "modseq": 41,
    "flags": ["\\Seen", "invoice"],
    "internal_date": 1764115200000,
    "size": 2048,
    "from": [{"name": "Bob", "address": "bob@example.org"}],
    "to": [{"name": "", "address": "alice@example.test"}],
    "cc": [],
    "subject": "The invoice",
    "date": 1764115190000,
    "message_id": "<k2@example.org>",
    "thread_id": "1vjrg9gsmwgr2yj6zc38mvxq55",
    "preview": "Hello Alice, here is the invoice for November.",
}
_PART: dict[str, Any] = {
    "path": "2",
    "type": "application/pdf",
    "size": 1024,
    "filename": "invoice.pdf",
    "disposition": "attachment",
    "content_id": None,
}


class NewMailbox(Strict):
    """A mailbox to create. `special_use` (RFC 6154) may be had by one mailbox only."""

    model_config = example(name="Archive/2026")
    name: MailboxName
    special_use: Use | None = None


class MailboxChange(Strict):
    """What isn't given stays."""

    model_config = example(name="Archive/2027", subscribed=True)
    name: MailboxName | None = None
    subscribed: bool | None = None

    @model_validator(mode="after")
    def _something(self) -> MailboxChange:
        if self.name is None and self.subscribed is None:
            raise ValueError("name or subscribed")
        return self


class MailboxOut(BaseModel):
    """A mailbox. `uid_validity` changes when its UIDs begin anew, `highest_modseq` with everything that changes."""

    model_config = example(**_MAILBOX)
    id: str
    name: str
    messages: int
    unseen: int
    size: int = Field(description="Octets of all its messages")
    uid_validity: int
    uid_next: int
    highest_modseq: int
    special_use: Use | None
    subscribed: bool
    keywords: list[str]

    @classmethod
    def of(cls, head: MailboxHead) -> MailboxOut:
        """From the store's value."""
        return cls(
            id=encode_id(head.mailbox_id),
            name=head.name,
            messages=head.messages,
            unseen=head.unseen,
            size=head.size,
            uid_validity=head.uid_validity,
            uid_next=head.uid_next,
            highest_modseq=head.highest_modseq,
            special_use=None if head.special_use is None else head.special_use.value,
            subscribed=head.subscribed,
            keywords=list(head.flag_table.keywords),
        )


class MailboxesOut(BaseModel):
    """All mailboxes; `version` rises with each creation, renaming, deletion and subscription."""

    model_config = example(version=7, items=[_MAILBOX])
    version: int
    items: list[MailboxOut]


class AddressOut(BaseModel):
    """One address of a header field; `name` "" for none."""

    model_config = example(name="Bob", address="bob@example.org")
    name: str
    address: str


class MessageOut(BaseModel):
    """A message in a list. `date` is the sender's, `internal_date` when it came; `id` names it in paths and is good
    until it is moved or removed.
    """

    model_config = example(**_MESSAGE)
    id: str
    mailbox: str
    uid: int
    modseq: int
    flags: list[str]
    internal_date: int
    size: int
    from_: list[AddressOut] = Field(alias="from")
    to: list[AddressOut]
    cc: list[AddressOut]
    subject: str
    date: int | None
    message_id: str | None
    thread_id: str | None
    preview: str


class MessagesOut(BaseModel):
    """A page of messages; `next` is the cursor of the next one, null at the end."""

    model_config = example(items=[_MESSAGE], next=None, highest_modseq=97)
    items: list[MessageOut]
    next: str | None
    highest_modseq: int = Field(description="What to ask for as changed_since the next time")


class RemovedOut(BaseModel):
    """UIDs that are gone, as ranges [first, last]."""

    model_config = example(items=[[3, 3], [7, 12]], next=None, highest_modseq=97)
    items: list[UidRange]
    next: str | None
    highest_modseq: int = Field(description="What to ask with as since the next time")


class AppendedOut(BaseModel):
    """Where an appended, copied or moved message is now."""

    model_config = example(id="1vjrg9gsmwgr2yj6zc38mvxq54.18", mailbox="INBOX", uid=18, uid_validity=1764115200)
    id: str
    mailbox: str
    uid: int
    uid_validity: int


class HeaderOut(BaseModel):
    """A header field, decoded."""

    model_config = example(name="Subject", value="The invoice")
    name: str
    value: str


class PartOut(BaseModel):
    """A part that is no multipart. `path` as in IMAP (RFC 9051 6.4.5), for …/parts/{path}; `size` is still encoded."""

    model_config = example(**_PART)
    path: str
    type: str
    size: int
    filename: str | None
    disposition: str | None
    content_id: str | None


class MessageDetail(MessageOut):
    """A message with its header, its text and its parts. `text` and `html` are cut at 262,144 characters."""

    model_config = example(
        **_MESSAGE,
        headers=[{"name": "Subject", "value": "The invoice"}],
        text="Hello Alice,\n\nhere is the invoice for November.\n",
        html=None,
        parts=[_PART],
    )
    headers: list[HeaderOut]
    text: str | None
    html: str | None
    parts: list[PartOut]


class FlagsChange(Strict):
    """`flags` replaces all flags; `add` and `remove` change some."""

    model_config = example(add=["\\Seen"], remove=["\\Flagged"])
    flags: Flags | None = None
    add: Flags | None = None
    remove: Flags | None = None

    @model_validator(mode="after")
    def _one_way(self) -> FlagsChange:
        if (self.flags is None) == (self.add is None and self.remove is None):
            raise ValueError("either flags, or add and remove")
        return self


class Destination(Strict):
    """Where to."""

    model_config = example(mailbox="Archive/2026")
    mailbox: MailboxName


class FoundOut(BaseModel):
    """What a search found so far. `next` null: everything was looked at; otherwise more may be found, also if `items`
    is empty: a request looks at a bounded number of messages.
    """

    model_config = example(items=[_MESSAGE], next=None, examined=42)
    items: list[MessageOut]
    next: str | None
    examined: int = Field(description="Messages that were looked at")
