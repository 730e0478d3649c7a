"""The settings of the process beside mongod (`MB_*`)."""

from __future__ import annotations

from mailboat_common.config import ReadableFile, ServiceSettings
from pydantic import Field, ValidationInfo, field_validator

USER_NAME = r"^[A-Za-z0-9._-]{1,64}$"


class Settings(ServiceSettings):
    """One mongod, reached over 127.0.0.1, and what is wanted of it."""

    member_host: str = Field(
        pattern=r"^(\[[0-9A-Fa-f:]+\]|[^\s:/,@\[\]]+):[0-9]{1,5}$",
        description="name:port of this member as storage_api reaches it",
    )
    replica_set: str = Field("rs0", min_length=1, description="The set's name, the one given to mongod")
    mongodb_port: int = Field(27017, ge=1, le=65535, description="Where mongod listens on 127.0.0.1")
    admin_user: str = Field("admin", pattern=USER_NAME, description="MongoDB's administrator (role root)")
    admin_password_file: ReadableFile = Field(
        description="File with the administrator's password; read again when it changes"
    )
    user: str = Field("mailboat", pattern=USER_NAME, description="storage_api's user, in the database admin")
    password_file: ReadableFile = Field(description="File with that user's password; read again when it changes")
    database: str = Field(
        "mailboat", pattern=r"^[A-Za-z0-9_-]{1,63}$", description="The one database that user may read and write"
    )

    @field_validator("user")
    @classmethod
    def _two_users(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("admin_user"):
            raise ValueError("must not be the administrator (MB_ADMIN_USER)")
        return value

    @field_validator("database")
    @classmethod
    def _not_mongodbs_own(cls, value: str) -> str:
        if value in ("admin", "config", "local"):
            raise ValueError("is MongoDB's own database")
        return value
