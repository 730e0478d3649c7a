"""Returning mail to its senders by an operator's decision: what waits fails now, and they are told why (RFC 3464).

One transaction for each document, as a report's, so that whoever dies in between has told nobody twice. A running
attempt loses its claim: its worker breaks off before the message's end, and what it reports counts no more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.queue import QueueId

from ..db import schema
from ..store.workspace import Workspace
from .documents import DONE, pending
from .given_up import give_up
from .notify import tell_sender
from .report import Ending, Reported, finish

STATUS = "5.0.0"
REASON = "Returned by the operator of this mail server before it could be delivered"
MAX_REASON = 500
_STATUS = re.compile(r"5\.\d{1,3}\.\d{1,3}")


@dataclass(frozen=True, slots=True)
class Return:
    """What senders are told: `reason` in one line, `status` a failure's code (RFC 3463 3.1). `by`: who decided."""

    by: str
    reason: str = REASON
    status: str = STATUS

    def check(self) -> None:
        """Refused INVALID."""
        if not _STATUS.fullmatch(self.status):
            raise Refused(RefusedCode.INVALID, "The status isn't a permanent failure's, such as 5.7.1")
        if not self.reason.strip() or not self.reason.isprintable() or len(self.reason) > MAX_REASON:
            raise Refused(RefusedCode.INVALID, f"The reason isn't one line of at most {MAX_REASON} characters")


class Bounce(Ending):
    """Return one document's message to its sender; not taken if it is done."""

    kind = "bounce"

    def __init__(self, queue_id: QueueId, wanted: Return) -> None:
        super().__init__(queue_id)
        self._wanted = wanted

    def apply(self, ws: Workspace) -> Reported:
        document = ws.document(schema.QUEUE, self._queue_id)
        if document is None or document["state"] == DONE:
            return Reported(False)
        waiting = {recipient["address"] for recipient in pending(document)}
        wanted = self._wanted
        recipients = give_up(ws, document, waiting, status=wanted.status, reason=wanted.reason, by=wanted.by)
        fields, told = tell_sender(ws, document, recipients, delays=False)
        return Reported(True, unused=finish(ws, document, fields), told=told)
