"""How a message came in, as the first step of its trace."""

from __future__ import annotations

from typing import Any

from mailboat_common.ids import decode_id
from mailboat_store_client.types import Envelope, Reception

from .hooks import TraceEvent

_PHASES = ("connected", "first_command", "secured", "mail", "data", "data_end")


def received(envelope: Envelope, size: int) -> TraceEvent:
    """The step `received`; `size` in octets.

    It is dated where the message's own story begins: when its client connected, or, for a later message of the same
    connection, with its MAIL; where no gateway noted anything (REST), when the trace id was made. `phases` are ms from
    then on; what the connection did before is below 0.
    """
    details: dict[str, Any] = {"listener": envelope.listener, "sender": envelope.reverse_path or "<>"}
    names = {"client": envelope.client, "helo": envelope.helo, "login": envelope.authenticated}
    details |= {name: value for name, value in names.items() if value}
    details |= {"recipients": len(envelope.recipients), "size": size}
    reception = envelope.reception
    if reception is None:
        at = made_at(envelope.trace_id)
    else:
        at = reception.connected if reception.number <= 1 else reception.mail
        if reception.tls:
            details["tls"] = reception.tls
        details |= {"transaction": reception.number, "phases": _phases(reception, at)}
    return TraceEvent(envelope.trace_id, at, "received", details=details)


def made_at(trace_id: str) -> int:
    """When a trace id was made, ms since the epoch (RFC 9562 5.7)."""
    return int.from_bytes(decode_id(trace_id)[:6], "big")


def _phases(reception: Reception, at: int) -> dict[str, int]:
    moments = {name: getattr(reception, name) for name in _PHASES}
    return {name: moment - at for name, moment in moments.items() if moment}
