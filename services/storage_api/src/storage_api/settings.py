"""storage_api's settings (`MB_*`). Both roles take them all, so that one Deployment's values serve the other."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from mailboat_common.config import AmqpSettings, DnsSettings, NetworkList, Port, ReadableFile
from pydantic import Field, ValidationInfo, field_validator, model_validator

from .queue.policy import DAY_MS, QueuePolicy
from .queue.retry import HOUR_MS, MINUTE_MS, RetrySchedule


class Settings(AmqpSettings, DnsSettings):
    """Settings of the API and of the worker."""

    role: Literal["api", "worker"] = Field("api", description="api: serve calls; worker: sweeps and garbage collection")
    mongodb_uri: str = Field(
        "mongodb://localhost:29017/?replicaSet=rs0",
        pattern=r"^mongodb(\+srv)?://",
        repr=False,
        description="MongoDB replica set with user and password",
    )
    mongo_driver: Literal["pymongo", "motor"] = Field("pymongo", description="MongoDB driver; motor is an extra")
    admin_port: Port = Field(11104, description="Port of /livez, /readyz and /metrics")
    rest_port: Port = Field(2080, description="REST API")
    internal_port: Port = Field(2081, description="Internal calls; never exposed")
    internal_token_file: ReadableFile | None = Field(
        None,
        validate_default=True,
        description="JSON: caller → [current token, previous token]; read again when it changes",
    )
    bootstrap_token_file: ReadableFile | None = Field(None, description="File with the first REST token")
    bytes_in_flight: int = Field(256 << 20, ge=1 << 20, description="Bodies of running internal calls, all together")
    events_days: int = Field(
        7, ge=0, le=366, description="Days that events for other systems are kept; 0: none are made"
    )
    events_max: int = Field(10_000_000, ge=1000, description="Events kept at most, the newest")
    events_exchange: str = Field("mailboat.public", description="RabbitMQ exchange for events; empty: not published")
    webhook_networks: NetworkList = Field((), description="Private networks that webhooks may be in, also without TLS")
    min_free_percent: float = Field(5.0, ge=0, lt=100, description="Below this much free disk mail is refused")
    retry_first_minutes: int = Field(5, ge=1, le=60, description="Wait before a deferred message is tried again")
    retry_longest_minutes: int = Field(240, ge=5, le=1440, description="What that wait doubles up to")
    queue_lifetime_hours: int = Field(120, ge=1, le=720, description="A message is given up after this time")
    delay_notice_hours: int = Field(
        4, ge=0, le=168, description="Its sender is told of a delay after this time; 0: not"
    )
    suppression_days: int = Field(
        90, ge=0, le=3650, description="An address that doesn't exist gets no mail; 0: it does"
    )

    @field_validator("internal_token_file")
    @classmethod
    def _api_needs_tokens(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None and info.data.get("role") == "api":
            raise ValueError("must be set for the role api")
        return value

    @model_validator(mode="after")
    def _schedule_ascends(self) -> Self:
        self.retry_schedule()
        return self

    def queue_policy(self) -> QueuePolicy:
        """What mail out keeps to."""
        return QueuePolicy(self.hostname, self.retry_schedule(), self.suppression_days * DAY_MS)

    def retry_schedule(self) -> RetrySchedule:
        """When mail out is tried again. Raises ValueError if the settings contradict each other."""
        return RetrySchedule(
            first_ms=self.retry_first_minutes * MINUTE_MS,
            longest_ms=self.retry_longest_minutes * MINUTE_MS,
            lifetime_ms=self.queue_lifetime_hours * HOUR_MS,
            delay_notice_ms=self.delay_notice_hours * HOUR_MS,
        )
