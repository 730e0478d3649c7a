"""What the operator decides about sessions, apart from how settings are read."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decides. Sizes in bytes, times in seconds."""

    auth_require_tls: bool = True
    message_limit: int = 50 * MIB
    bytes_in_flight: int = 256 * MIB
    sessions_per_account: int = 30
    login_seconds: float = 60.0
    idle_seconds: float = 30 * 60.0
    pace_seconds: float = 180.0
    keepalive_seconds: float = 120.0
    auth_failure_seconds: float = 2.0
    auth_failures: int = 4
    bad_commands: int = 20
    progress_seconds: float = 10.0
    body_cache: int = 64 * MIB
    block_cache: int = 32 * MIB
    warm_views: int = 128 * MIB
    compress: bool = False
