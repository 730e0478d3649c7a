"""Identifiers: time-ordered UUIDs (RFC 9562 5.7), trace ids and event shards.

Rules: `uuid7` never goes backwards within a process, whatever the clock does. A trace id is the same 128 bits as text
that sorts the same way, has no case and no look-alike letters, and fits any header or log.
"""

import base64
import os
import threading
import time
import zlib

_TAIL_BITS = 74  # 12 bits rand_a and 62 bits rand_b, counted as one number within a millisecond
_TAIL_MASK = (1 << _TAIL_BITS) - 1
_CROCKFORD = bytes.maketrans(b"0123456789ABCDEFGHIJKLMNOPQRSTUV", b"0123456789abcdefghjkmnpqrstvwxyz")
_CROCKFORD_BACK = bytes.maketrans(b"0123456789abcdefghjkmnpqrstvwxyz", b"0123456789ABCDEFGHIJKLMNOPQRSTUV")
_lock = threading.Lock()
_last_ms = 0
_last_tail = 0


def uuid7() -> bytes:
    """A new UUIDv7 as 16 bytes, greater than every one this process made before.

    Within one millisecond the 74 random bits grow by a random 32-bit step (RFC 9562 6.2, method 2).
    """
    global _last_ms, _last_tail  # noqa: PLW0603 - the order of ids is a property of the process
    with _lock:
        now = time.time_ns() // 1_000_000
        if now > _last_ms:
            _last_ms = now
            _last_tail = int.from_bytes(os.urandom(10), "big") >> 7  # 73 bits: half of the range stays for steps
        else:
            _last_tail += int.from_bytes(os.urandom(4), "big") + 1
            if _last_tail > _TAIL_MASK:
                _last_ms += 1
                _last_tail &= _TAIL_MASK
        ms, tail = _last_ms, _last_tail
    value = ms << 80 | 0x7 << 76 | (tail >> 62) << 64 | 0b10 << 62 | tail & ((1 << 62) - 1)
    return value.to_bytes(16, "big")


def trace_id() -> str:
    """A new id for a message's journey: a UUIDv7 as 26 lower-case Crockford base32 characters."""
    return encode_id(uuid7())


def encode_id(value: bytes) -> str:
    """16 bytes as 26 lower-case Crockford base32 characters; the text sorts like the bytes."""
    # 128 bits aligned to the right of 130: four zero bytes in front make whole groups of 5 bits.
    return base64.b32hexencode(b"\0\0\0\0" + value)[6:].translate(_CROCKFORD).decode("ascii")


def decode_id(text: str) -> bytes:
    """The 16 bytes `encode_id` was given, in any case. Raises ValueError for any other text."""
    packed = base64.b32hexdecode(b"000000" + text.lower().encode("ascii").translate(_CROCKFORD_BACK))
    if len(packed) != 20 or any(packed[:4]) or encode_id(packed[4:]) != text.lower():
        raise ValueError("not an id")
    return packed[4:]


def shard(account_id: bytes) -> int:
    """The event shard (0..255) of an account. Stable across processes, versions and machines."""
    return zlib.crc32(account_id) & 0xFF
