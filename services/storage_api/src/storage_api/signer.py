"""DKIM signatures for what our accounts send, `sign(domain, content, at)`, and for our own notices, `sign_for_host`.

The domain is the caller's to name, and must be one that the sender was allowed to send as: signing with the domain of
whatever From says would let one customer vouch for another. Keys are kept for `KEEP_SECONDS`, so that a rotation
reaches every process while the old key is still published; private keys stay in this process.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from mailboat_common import metrics
from mailboat_common.log import get_logger
from mailboat_mime import dkim
from mailboat_mime.dkim_keys import SigningKey

from .directory import addresses
from .directory.dkim import DkimKeys

log = get_logger(__name__)

KEEP_SECONDS = 30.0
MAX_DOMAINS = 2_000
IN_A_THREAD = 64 << 10  # octets from which on hashing would hold up other calls

_signed = metrics.counter("dkim_signatures_total", "Messages that were to be signed with DKIM", ("result",))


class Signer:
    """Signs with the active keys of our domains. `clock` gives seconds, for how long keys are kept."""

    def __init__(self, keys: DkimKeys, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, list[SigningKey]]] = OrderedDict()

    async def sign(self, domain: str, content: bytes, at: int) -> bytes:
        """The DKIM-Signature fields to put in front of `content`; nothing if the domain isn't ours.

        `at` (seconds since the epoch) stands in t=; the same call gives the same octets while the keys are the same.
        A message without From gets none. Raises Unavailable if the keys can't be read.
        """
        keys = await self._active(addresses.normalise_domain(domain) or "")
        if not keys:
            _signed.labels("none").inc()
            return b""
        try:
            if len(content) < IN_A_THREAD:
                prefix = dkim.sign(content, keys, at)
            else:
                prefix = await asyncio.to_thread(dkim.sign, content, keys, at)
        except ValueError:
            _signed.labels("no_from").inc()
            return b""
        _signed.labels("signed").inc()
        return prefix

    async def sign_for_host(self, host: str, content: bytes, at: int) -> bytes:
        """As `sign`, by the domain of ours that a host's name is in: itself, or the closest above it.

        From MAILER-DAEMON@host is then aligned for DMARC unless the domain asks for strict alignment (RFC 7489 3.1.1).
        """
        domain = addresses.normalise_domain(host) or ""
        while "." in domain and not await self._active(domain):
            domain = domain.partition(".")[2]
        return await self.sign(domain, content, at)

    async def _active(self, domain: str) -> list[SigningKey]:
        if not domain:
            return []
        until, keys = self._known.get(domain, (0.0, []))
        if until <= self._clock():
            keys = await self._keys.signing_keys(domain)
            self._known[domain] = (self._clock() + KEEP_SECONDS, keys)
            self._known.move_to_end(domain)
            while len(self._known) > MAX_DOMAINS:
                self._known.popitem(last=False)
        return keys
