"""Every setting, typed and documented, read from ``WATTGATE_…`` variables; secrets have no default."""

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AwareDatetime, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.clock import Clock

_LAST_PORT = 65_535


def _broker_of(host: str) -> tuple[str, str]:
    """Read ``name``, ``name:port``, ``::1`` or ``[::1]:port`` as a name and a port, which may be empty."""
    written = host.strip()
    if written.startswith("["):
        name, _, port = written[1:].partition("]")
        return name, port.removeprefix(":")
    if written.count(":") > 1:
        return written, ""
    name, colon, port = written.partition(":")
    return name, port if port or not colon else "none"


class OwnerSettings(BaseSettings):
    """What works as the owner role needs, and no more: it runs where no other secret lies."""

    model_config = SettingsConfigDict(env_prefix="WATTGATE_", frozen=True, extra="ignore")

    migration_url: SecretStr | None = Field(
        default=None,
        description="the same database as the owner role; needed by `wattgate migrate` and `wattgate retention` only",
    )


class BackupSettings(BaseSettings):
    """What `wattgate backup` needs, and no more."""

    model_config = SettingsConfigDict(env_prefix="WATTGATE_", frozen=True, extra="ignore")

    backup_url: SecretStr | None = Field(
        default=None,
        description="the server as a role with REPLICATION, in libpq's form; needed by `wattgate backup` only",
    )
    postgres_bin: Path | None = Field(
        default=None, description="folder of PostgreSQL's own programs; without it they are looked for"
    )


class Settings(OwnerSettings, BackupSettings):
    """What a process is told at its start. Passed in, never imported as a global."""

    environment: Literal["production", "demo", "test"] = Field(
        default="production", description="production refuses a fast clock and embedded parts"
    )
    database_url: SecretStr = Field(
        description="PostgreSQL 15 or later, as the application role: postgresql+psycopg://user:password@host/name"
    )
    database_pool_size: int = Field(default=20, ge=1, le=200, description="connections a process keeps open")
    token_secret: SecretStr = Field(
        min_length=32, description="signs the access tokens of people; 32 characters or more"
    )
    token_lifetime_s: int = Field(default=8 * 3600, ge=60, description="how long a sign-in lasts, in seconds")
    sign_in_failures_per_name: int = Field(
        default=5, ge=1, description="failed sign-ins for one name, after which nothing is compared for a while"
    )
    sign_in_failures_per_address: int = Field(
        default=30, ge=1, description="failed sign-ins from one address, after which it is slowed"
    )
    sign_in_slow_s: int = Field(
        default=30, ge=1, description="seconds from one attempt to the next from an address that is slowed"
    )
    sign_in_failures_window_s: int = Field(
        default=900, ge=1, description="how long a failed sign-in counts, in seconds of the machine"
    )
    signing_key_file: Path = Field(description="Ed25519 private key (PEM) that signs commands to terminals")
    signing_key_id: str = Field(default="wattgate-1", description="`kid` of that key, pinned by each terminal")
    previous_signing_key_file: Path | None = Field(
        default=None, description="during a change of keys the one before, for terminals that know no other yet"
    )
    previous_signing_key_id: str | None = Field(default=None, description="`kid` of the key before")
    anchor_public_key_file: Path | None = Field(
        default=None, description="public key (PEM) of the anchor, whose statements say which keys may sign"
    )
    site_secret_file: Path | None = Field(
        default=None, description="file with 64 hexadecimal digits, of which the keypad key of each terminal is made"
    )
    broker_host: str = Field(
        default="127.0.0.1",
        description="MQTT broker's host, or several by commas, each with a port of its own where it differs: "
        "nats-1,nats-2:8884",
    )
    broker_port: int = Field(default=8883, ge=1, le=65535, description="MQTT broker's port")
    broker_user: str = Field(default="wattgate", description="the service's MQTT user")
    worker_name: str = Field(
        default="",
        max_length=64,
        pattern=r"^[A-Za-z0-9._-]*$",
        description="name and MQTT client id of this worker, another one for each; the broker user when empty",
    )
    worker_lease_s: int = Field(
        default=10, ge=3, le=120, description="how long a worker may be silent before others take its terminals over"
    )
    broker_password: SecretStr | None = Field(default=None, description="the service's MQTT password")
    broker_subscribe_qos: int = Field(
        default=1,
        ge=0,
        le=1,
        description="MQTT quality of service with which the worker subscribes; 0 for a cluster of NATS",
    )
    broker_ca_file: Path | None = Field(
        default=None,
        description="certificate authority of the broker (PEM); without it the link is not encrypted",
    )
    http_host: str = Field(default="127.0.0.1", description="address the HTTP service listens on")
    http_port: int = Field(default=8000, ge=1, le=65535, description="port the HTTP service listens on")
    http_workers: int = Field(default=1, ge=1, le=64, description="HTTP processes on that port")
    worker_metrics_port: int = Field(
        default=9101, ge=0, le=65535, description="port of the worker's own /metrics; 0 turns it off"
    )
    verify_metrics_port: int = Field(
        default=9102, ge=0, le=65535, description="port of the /metrics of `wattgate verify --watch`; 0 turns it off"
    )
    startup_wait_s: int = Field(
        default=60, ge=0, description="how long service and worker wait at their start for database and broker"
    )
    max_body_bytes: int = Field(default=256 * 1024, ge=1024, description="largest HTTP request body taken")
    max_head_bytes: int = Field(
        default=16 * 1024, ge=1024, description="largest address and headers of an HTTP request, together"
    )
    requests_per_s: int = Field(
        default=200,
        ge=1,
        description="requests a second of one person or client, in each HTTP process; twice at once",
    )
    open_requests_per_s: int = Field(
        default=20, ge=1, description="the same for one address where nobody is signed in; health is not counted"
    )
    trusted_proxies: str = Field(
        default="127.0.0.1",
        description="addresses or networks, by commas, whose X-Forwarded-For and X-Forwarded-Proto are believed",
    )
    https_only: bool = Field(
        default=False,
        description="true tells browsers to use https only, even where the request seems to have come without it",
    )
    report_interval_s: int = Field(
        default=900,
        ge=1,
        description="how often terminals report, in contract seconds; staleness is judged by it",
    )
    time_zone: str = Field(
        default="Asia/Shanghai", description="zone of the offices' clocks, as the IANA names it; papers show its time"
    )
    cheque_overdue_days: int = Field(
        default=10, ge=1, description="days in clearing after which a cheque is counted as overdue"
    )
    refund_alone_fen: int = Field(
        default=1_000_000, ge=0, description="up to how much, in fen, one person may take back without an approval"
    )
    audit_heads_file: Path | None = Field(
        default=None,
        description="file outside the database to which the worker adds the heads of the audit record once a day",
    )
    clock_factor: int = Field(default=1, ge=1, le=100_000, description="how fast the clock runs; 1 in production")
    clock_started_at: AwareDatetime = Field(
        default=datetime(2000, 1, 1, tzinfo=UTC), description="machine time at which the fast clock started"
    )
    clock_shown_at: AwareDatetime = Field(
        default=datetime(2000, 1, 1, tzinfo=UTC), description="what the fast clock showed at that moment"
    )

    @model_validator(mode="after")
    def _production_keeps_real_time(self) -> Self:
        moved = self.clock_shown_at != self.clock_started_at
        if self.environment == "production" and (self.clock_factor != 1 or moved):
            raise ValueError(
                "production keeps real time: remove WATTGATE_CLOCK_FACTOR, WATTGATE_CLOCK_STARTED_AT and "
                "WATTGATE_CLOCK_SHOWN_AT, or set WATTGATE_ENVIRONMENT=demo"
            )
        if self.clock_factor != 1 and "clock_started_at" not in self.model_fields_set:
            raise ValueError(
                "a fast clock needs the moment at which it started: set WATTGATE_CLOCK_STARTED_AT and "
                "WATTGATE_CLOCK_SHOWN_AT"
            )
        return self

    @model_validator(mode="after")
    def _the_previous_key_is_whole_and_another(self) -> Self:
        if (self.previous_signing_key_file is None) != (self.previous_signing_key_id is None):
            raise ValueError(
                "the previous key needs both: set WATTGATE_PREVIOUS_SIGNING_KEY_FILE and "
                "WATTGATE_PREVIOUS_SIGNING_KEY_ID, or neither"
            )
        if self.previous_signing_key_id == self.signing_key_id:
            raise ValueError("two keys need two ids: change WATTGATE_SIGNING_KEY_ID or the one of the previous key")
        return self

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"this machine knows no time zone {name!r}; name one such as Asia/Shanghai") from None
        return name

    @field_validator("broker_host")
    @classmethod
    def _names_brokers(cls, hosts: str) -> str:
        for host in hosts.split(","):
            name, port = _broker_of(host)
            if not name or (port and not (port.isdecimal() and 0 < int(port) <= _LAST_PORT)):
                raise ValueError(f"{host.strip()!r} names no broker; write host or host:port, several by commas")
        return hosts

    @cached_property
    def brokers(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each broker, in the order in which they are tried."""
        found = (_broker_of(host) for host in self.broker_host.split(","))
        return tuple((name, int(port) if port else self.broker_port) for name, port in found)

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @cached_property
    def clock(self) -> Clock:
        return Clock(factor=self.clock_factor, started_at=self.clock_started_at, shown_at=self.clock_shown_at)
