"""Settings of the delivery worker (environment `MB_*`)."""

from mailboat_common.config import AmqpSettings, StorageClientSettings
from pydantic import Field


class Settings(StorageClientSettings, AmqpSettings):
    """What it takes to be given jobs and to ask storage_api about them."""

    jobs_at_once: int = Field(50, ge=1, le=10_000, description="Jobs in work at once")
