"""The one quota root of an account, as clients see it (RFC 9208).

All mailboxes of an account share it. Its limits are in its document (octets and messages, each may be absent) and are
judged by the commit that would exceed them; they are hard, so there is nothing to warn of in an untagged OVERQUOTA.
"""

from __future__ import annotations

from mailboat_store_client.types import Quota
from mailboat_wire.imap import response

ROOT = b"User quota"  # a name other servers use too: some clients show it
STORAGE_UNIT = 1024  # RFC 9208 5.1


def quota_line(quota: Quota) -> bytes:
    """The QUOTA response. Octets are rounded up, usage and limit alike, so that what fits is shown to fit."""
    resources = [
        (b"STORAGE", -(-quota.bytes_used // STORAGE_UNIT), -(-quota.bytes_limit // STORAGE_UNIT)),
        (b"MESSAGE", quota.messages_used, quota.messages_limit),
    ]
    return response.quota(ROOT, [resource for resource in resources if resource[2]])
