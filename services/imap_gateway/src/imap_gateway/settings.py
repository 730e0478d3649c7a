"""Settings of the IMAP gateway (environment `MB_*`)."""

from mailboat_common.config import AmqpSettings, EdgeSettings, Port, StorageClientSettings
from pydantic import Field

from .policy import MIB, Policy


class Settings(StorageClientSettings, AmqpSettings, EdgeSettings):
    """A port of 0 is not listened on; PROXY ports speak the PROXY protocol before anything else."""

    imap_port: Port = Field(2143, description="IMAP with STARTTLS")
    imaps_port: Port = Field(2993, description="IMAP over TLS")
    imap_proxy_port: Port = Field(0, description="IMAP behind a load balancer")
    imaps_proxy_port: Port = Field(0, description="IMAP over TLS behind a load balancer")
    message_limit: int = Field(50 * MIB, ge=1024, le=0xFFFFFFFF, description="Largest message of APPEND, bytes")
    sessions_per_account: int = Field(30, ge=1, description="Sessions of one account in this process")
    bytes_in_flight: int = Field(256 * MIB, ge=MIB, description="Message bytes held by all sessions together")
    cache_bytes: int = Field(64 * MIB, ge=MIB, description="Rendered parts of messages that are kept")
    mailbox_cache_bytes: int = Field(128 * MIB, ge=MIB, description="Mailboxes kept warm without a session")
    imap_compress: bool = Field(False, description="Offer COMPRESS=DEFLATE; about 110 KB for each session that uses it")

    def policy(self) -> Policy:
        """What sessions need of it."""
        return Policy(
            auth_require_tls=self.auth_require_tls,
            message_limit=self.message_limit,
            bytes_in_flight=self.bytes_in_flight,
            sessions_per_account=self.sessions_per_account,
            body_cache=self.cache_bytes,
            warm_views=self.mailbox_cache_bytes,
            compress=self.imap_compress,
        )
