"""Settings of the SMTP ingress (environment `MB_*`)."""

from mailboat_common.config import EdgeSettings, Port, StorageClientSettings
from pydantic import Field


class Settings(StorageClientSettings, EdgeSettings):
    """A port of 0 is not listened on; PROXY ports speak the PROXY protocol before anything else."""

    connections_per_address: int = Field(50, ge=1, description="Connections of one client address (IPv6: /64)")
    smtp_port: Port = Field(2025, description="Reception from other servers")
    submission_port: Port = Field(2587, description="Submission with STARTTLS")
    submissions_port: Port = Field(2465, description="Submission over TLS")
    smtp_proxy_port: Port = Field(0, description="Reception behind a load balancer")
    submission_proxy_port: Port = Field(0, description="Submission behind a load balancer")
    submissions_proxy_port: Port = Field(0, description="Submission over TLS behind a load balancer")
    message_size_limit: int = Field(50 * 1024 * 1024, ge=64 * 1024, description="Largest message, octets")
    bytes_in_flight: int = Field(256 * 1024 * 1024, ge=1024 * 1024, description="Message octets held at once")
    recipients_limit: int = Field(1000, ge=100, description="Recipients of one message (RFC 5321 4.5.3.1.8)")
