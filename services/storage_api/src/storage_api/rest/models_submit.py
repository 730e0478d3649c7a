"""What is given to send a message, and what became of its recipients."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from .dsn import EnvelopeId, NotifyWords, Returned
from .models import AddressText, Strict, example, few_members

MAX_RECIPIENTS = 1000
MAX_ATTACHMENTS = 100
MAX_TEXT = 10 << 20
MAX_BASE64 = 70 << 20

_MESSAGE: dict[str, Any] = {
    "from": {"name": "Alice", "address": "alice@example.test"},
    "to": ["bob@example.org"],
    "subject": "The invoice",
    "text": "Hello Bob,\n\nthe invoice is attached.\n",
    "attachments": [{"filename": "invoice.txt", "content_type": "text/plain", "content": "VG90YWw6IDEwIEVVUgo="}],
}
_ANSWER: dict[str, Any] = {
    "trace_id": "1vjrg9gsmwgr2yj6zc38mvxq57",
    "message_id": "<1vjrg9gsmwgr2yj6zc38mvxq57@mail.example.test>",
    "recipients": [{"address": "bob@example.org", "status": "queued", "reason": None}],
    "sent": None,
}


class AddressIn(Strict):
    """An address with the name that is shown."""

    model_config = example(name="Alice", address="alice@example.test")
    name: Annotated[str, Field(max_length=255)] = ""
    address: AddressText


Party = AddressText | AddressIn
Headers = Annotated[
    dict[str, Annotated[str, Field(max_length=4000)]], Field(max_length=50), BeforeValidator(few_members)
]
Parties = Annotated[list[Party], Field(max_length=MAX_RECIPIENTS)]


class RecipientIn(AddressIn):
    """A recipient, with what is asked for it alone. `orcpt`: the address that the sender first had for it."""

    model_config = example(name="Bob", address="bob@example.org", notify=["success", "failure"])
    notify: NotifyWords | None = Field(None, description="Instead of the message's")
    orcpt: Annotated[str, Field(min_length=3, max_length=320)] | None = None


Recipient = AddressText | RecipientIn
Recipients = Annotated[list[Recipient], Field(max_length=MAX_RECIPIENTS)]


class Attachment(Strict):
    """A file. With `content_id` it is shown inside the HTML, which names it as cid:…."""

    model_config = example(**_MESSAGE["attachments"][0])
    filename: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f/\\]+$")]
    content_type: Annotated[str, Field(max_length=127, pattern=r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+$")] = (
        "application/octet-stream"
    )
    content: Annotated[str, Field(max_length=MAX_BASE64, description="base64 (RFC 4648 4)")]
    content_id: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9._@+-]+$")] | None = None


class NewMessage(Strict):
    """A message to send. `bcc` is in nobody's header; `headers` are further fields: List-Unsubscribe, X-…."""

    model_config = example(**_MESSAGE)
    from_: Party = Field(alias="from", description="An address of the account")
    to: Recipients = Field(default_factory=list)
    cc: Recipients = Field(default_factory=list)
    bcc: Recipients = Field(default_factory=list)
    reply_to: Parties = Field(default_factory=list)
    subject: Annotated[str, Field(max_length=2000)] = ""
    text: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    html: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    attachments: Annotated[list[Attachment], Field(max_length=MAX_ATTACHMENTS)] = Field(default_factory=list)
    headers: Headers = Field(default_factory=dict)
    in_reply_to: Annotated[str, Field(max_length=998)] | None = Field(None, description="Message-ID of the answered")
    references: Annotated[list[Annotated[str, Field(max_length=998)]], Field(max_length=100)] = Field(
        default_factory=list
    )
    notify: NotifyWords | None = None
    ret: Returned | None = None
    envid: EnvelopeId | None = None
    save_to_sent: bool = Field(False, description="Put a copy into the mailbox with the special use \\Sent")

    @model_validator(mode="after")
    def _to_somebody(self) -> NewMessage:
        count = len(self.to) + len(self.cc) + len(self.bcc)
        if not 1 <= count <= MAX_RECIPIENTS:
            raise ValueError(f"1 to {MAX_RECIPIENTS} recipients in to, cc and bcc together")
        return self


class RecipientOut(BaseModel):
    """What became of one recipient. `queued`: for another server; the trace and the queue tell how it goes on."""

    model_config = example(**_ANSWER["recipients"][0])
    address: str
    status: Literal["delivered", "queued", "refused"]
    reason: str | None = Field(description="Why it was refused, with its enhanced status code (RFC 3463)")


class SubmittedOut(BaseModel):
    """A message that was taken. `sent` is the id of the copy in Sent, null if none was asked for or it didn't fit."""

    model_config = example(**_ANSWER)
    trace_id: str
    message_id: str
    recipients: list[RecipientOut]
    sent: str | None
