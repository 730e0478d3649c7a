"""Settings of the delivery worker (environment `MB_*`)."""

from mailboat_common.config import AmqpSettings, DnsSettings, NetworkList, StorageClientSettings
from pydantic import Field


class Settings(StorageClientSettings, AmqpSettings, DnsSettings):
    """What it takes to be given jobs, to ask storage_api about them and to deliver."""

    jobs_at_once: int = Field(300, ge=1, le=10_000, description="Delivery attempts in work at once")
    connections_per_destination: int = Field(
        20, ge=1, le=1000, description="Attempts, and connections, at once to one destination"
    )
    connection_idle_seconds: float = Field(
        5.0, ge=0, le=300, description="How long a connection is kept for the next message; 0: not at all"
    )
    connection_messages: int = Field(100, ge=1, description="Messages sent over one connection at most")
    content_bytes: int = Field(128 * 1024 * 1024, ge=1024 * 1024, description="Octets of messages in memory at once")
    timeouts_factor: float = Field(
        1.0, gt=0, le=10, description="Scales the time limits of RFC 5321 4.5.3.2 for remote servers"
    )
    mx_networks: NetworkList = Field(
        (), description="Networks that mail hosts found by DNS may be in although they aren't public"
    )
    mx_port: int = Field(25, ge=1, le=65535, description="Port of mail hosts found by DNS; 25 but for trials")
