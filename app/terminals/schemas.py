"""Terminals as the API takes and shows them; a credential is shown once, at registration."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.mqtt import topics
from app.terminals.models import Terminal, TerminalLive, TerminalRound
from app.terminals.queries import TerminalSeen
from app.terminals.rules import Pinned
from app.terminals.service import NewRound, NewTerminal

_LARGEST_POWER_W = 2**40
_NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f]*$"

TerminalId = Annotated[str, StringConstraints(pattern=topics.TERMINAL_ID_PATTERN)]
Fed = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_NO_CONTROL_CHARACTERS)
]
MeterNo = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Relay = Literal["closed", "tripped", "unknown"]

_RELAYS: dict[str, Relay] = {"1": "closed", "0": "tripped"}


def relay_of(state: dict[str, Any] | None, *, number: int) -> Relay:
    """Read the relay of round ``number`` from what the terminal last told."""
    told = (state or {}).get("rounds", "")
    return _RELAYS.get(told[number - 1 : number], "unknown")


class RoundShape(BaseModel):
    """A trip relay: what it feeds, how important that is (1 goes first), and its connected load."""

    model_config = ConfigDict(extra="forbid")

    round: int = Field(ge=1, le=8, examples=[1])
    feeds_zh: Fed = Field(examples=["空调"])
    feeds_en: Fed = Field(examples=["air conditioning"])
    importance: int = Field(ge=1, le=1000, description="1 is tripped first", examples=[1])
    load_w: int = Field(ge=0, le=_LARGEST_POWER_W, examples=[120_000])


class TerminalToRegister(BaseModel):
    model_config = ConfigDict(extra="forbid")

    terminal_id: TerminalId = Field(examples=["SH-PD-0001"])
    supply_point_id: UUID
    meter_no: MeterNo = Field(examples=["M0001"])
    safe_load_w: int = Field(
        ge=0, le=_LARGEST_POWER_W, description="power in W that is never cut (保安负荷)", examples=[50_000]
    )
    rounds: list[RoundShape] = Field(min_length=1, max_length=8)

    @model_validator(mode="after")
    def _each_round_once(self) -> Self:
        numbers = [fitted.round for fitted in self.rounds]
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        if twice:
            raise ValueError(f"each round is fitted once; given more than once: {twice}")
        return self

    def to_register(self) -> NewTerminal:
        return NewTerminal(
            terminal_id=self.terminal_id,
            supply_point_id=self.supply_point_id,
            meter_no=self.meter_no,
            safe_load_w=self.safe_load_w,
            rounds=tuple(NewRound(**fitted.model_dump()) for fitted in self.rounds),
        )


class Revoke(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: str = Field(
        min_length=3, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$", examples=["stolen from the site"]
    )


class CredentialGiven(BaseModel):
    """A new credential; it cannot be read again."""

    terminal_id: str = Field(examples=["SH-PD-0001"])
    credential: str = Field(description="MQTT password; shown here and never again")


class TerminalRegistered(BaseModel):
    """What is written into the terminal once. The credential cannot be read again: only its hash is kept."""

    terminal_id: str = Field(examples=["SH-PD-0001"])
    user_name: str = Field(description="MQTT user name and client id", examples=["SH-PD-0001"])
    credential: str = Field(description="MQTT password; shown here and never again")
    service_public_key_pem: str = Field(description="Ed25519 key that the terminal pins: it signs every command")
    service_key_id: str = Field(description="`kid` of that key", examples=["wattgate-1"])
    service_keys: dict[str, str] = Field(
        description="every key that the terminal pins, that one included, by `kid`; during a change of keys two"
    )
    keys_serial: int = Field(description="serial of the key statement that lists them; 0 before the first")
    anchor_public_key_pem: str | None = Field(
        description="Ed25519 key that the terminal pins for key statements; null: the service has no anchor"
    )
    site_key: str | None = Field(
        default=None, description="for its keypad, see site codes in the terminal protocol; null: none are made here"
    )
    publishes_to: list[str] = Field(examples=[["lm/v1/SH-PD-0001/up/birth"]])
    subscribes_to: str = Field(examples=["lm/v1/SH-PD-0001/dn/#"])

    @classmethod
    def of(cls, terminal_id: str, *, credential: str, pinned: Pinned, site_key: str | None = None) -> Self:
        return cls(
            terminal_id=terminal_id,
            user_name=terminal_id,
            credential=credential,
            service_public_key_pem=pinned.keys[pinned.key_id],
            service_key_id=pinned.key_id,
            service_keys=dict(pinned.keys),
            keys_serial=pinned.serial,
            anchor_public_key_pem=pinned.anchor_pem,
            site_key=site_key,
            publishes_to=[topics.up(terminal_id, kind) for kind in topics.UP_KINDS],
            subscribes_to=topics.all_down(terminal_id),
        )


class SiteKeyGiven(BaseModel):
    """The key that a terminal's keypad reads site codes under; always the same while the service's secret is."""

    terminal_id: str = Field(examples=["SH-PD-0001"])
    site_key: str = Field(examples=["XOAq6Bxc4kVIDWhlHWZA5p_rPiBgirMqxNwaAuVP1dE"])


class TerminalShown(BaseModel):
    terminal_id: str = Field(examples=["SH-PD-0001"])
    supply_point_id: UUID
    meter_no: str = Field(examples=["M0001"])
    safe_load_w: int = Field(examples=[50_000])
    registered_at: datetime
    retired_at: datetime | None
    credential_revoked_at: datetime | None = Field(description="since when nobody may sign in under its name")
    online: bool
    commandable: bool = Field(description="it has proved that what is sent reaches it")
    seen_at: datetime | None = Field(description="when it last told anything")
    firmware: str | None = Field(examples=["1.4.0"])
    keys_serial: int | None = Field(description="serial of the key statement that it holds; null: it has not told")
    has_site_key: bool = Field(description="its keypad was given a key for site codes")

    @classmethod
    def of(cls, seen: TerminalSeen) -> "TerminalShown":
        return cls(**_shown(seen.terminal, seen.live))


class RoundShown(RoundShape):
    relay: Relay = Field(description="as the terminal last told", examples=["closed"])

    @classmethod
    def of(cls, fitted: TerminalRound, *, state: dict[str, Any] | None) -> "RoundShown":
        return cls.model_construct(
            round=fitted.round,
            feeds_zh=fitted.feeds_zh,
            feeds_en=fitted.feeds_en,
            importance=fitted.importance,
            load_w=fitted.load_w,
            relay=relay_of(state, number=fitted.round),
        )


class TerminalWholeShown(TerminalShown):
    """A terminal with its rounds and what it last told of itself."""

    rounds: list[RoundShown]
    clock: str | None = Field(description="synced, free or unset", examples=["synced"])
    supplied_wh: int | None = Field(description="its counter of all energy supplied")
    supplied_at: datetime | None
    recent_load_w: int = Field(description="mean over about a day")
    active_power_w: int | None
    state: dict[str, Any] | None = Field(
        description="what it holds and does, as in the terminal protocol",
        examples=[{"paid_until_wh": 62_500_000, "rounds": "11------", "guarantee": "off", "limit_w": None}],
    )
    state_at: datetime | None

    @classmethod
    def whole(cls, terminal: Terminal, live: TerminalLive, rounds: list[TerminalRound]) -> Self:
        return cls(
            **_shown(terminal, live),
            rounds=[RoundShown.of(fitted, state=live.state) for fitted in rounds],
            clock=live.clock,
            supplied_wh=live.supplied_wh,
            supplied_at=live.supplied_at,
            recent_load_w=live.recent_load_w,
            active_power_w=live.active_power_w,
            state=live.state,
            state_at=live.state_at,
        )


def _shown(terminal: Terminal, live: TerminalLive) -> dict[str, Any]:
    return {
        "terminal_id": terminal.id,
        "supply_point_id": terminal.supply_point_id,
        "meter_no": terminal.meter_no,
        "safe_load_w": terminal.safe_load_w,
        "registered_at": terminal.registered_at,
        "retired_at": terminal.retired_at,
        "credential_revoked_at": terminal.credential_revoked_at,
        "online": live.online,
        "commandable": live.online and live.commandable,
        "seen_at": live.seen_at,
        "firmware": live.firmware,
        "keys_serial": (live.keys_told or {}).get("serial"),
        "has_site_key": terminal.site_key_id is not None,
    }
