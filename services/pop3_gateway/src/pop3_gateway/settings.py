"""Settings of the POP3 gateway (environment `MB_*`)."""

from mailboat_common.config import EdgeSettings, Port, StorageClientSettings
from pydantic import Field


class Settings(StorageClientSettings, EdgeSettings):
    """A port of 0 is not listened on; PROXY ports speak the PROXY protocol before anything else."""

    pop3_port: Port = Field(2110, description="POP3 with STLS")
    pop3s_port: Port = Field(2995, description="POP3 over TLS")
    pop3_proxy_port: Port = Field(0, description="POP3 behind a load balancer")
    pop3s_proxy_port: Port = Field(0, description="POP3 over TLS behind a load balancer")
