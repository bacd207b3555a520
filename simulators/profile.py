"""What a fleet file says: the broker, the clock, and each terminal with the site behind it."""

import json
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from app.mqtt.messages import (
    ControlMode,
    Counter,
    Minutes,
    OrderNo,
    RoundNo,
    Seconds,
    TerminalId,
    Wh,
    Word,
)
from simulators.device_clock import ClockProfile
from simulators.load_shapes import Shape

#: One letter for each hour of the day: s sharp, p peak, f flat, v valley.
RATE_HOURS = "vvvvvvvvffpppffpppssspfv"
_ALL_PERCENT = 100


class Defect(StrEnum):
    """What a terminal can be built to do wrong; `simulators.defects` builds it."""

    IGNORES_VERSIONS = "ignores_versions"
    IGNORES_EXPIRY = "ignores_expiry"
    IGNORES_UPTIME_BOUND = "ignores_uptime_bound"
    IGNORES_SESSION = "ignores_session"
    IGNORES_SIGNATURE = "ignores_signature"
    IGNORES_KEY_ID = "ignores_key_id"
    IGNORES_TERMINAL_ID = "ignores_terminal_id"
    BELIEVES_UNSET_CLOCK = "believes_unset_clock"
    ACTS_TWICE = "acts_twice"
    REMEMBERS_FORGERIES = "remembers_forgeries"
    FORGETS_OUTCOMES = "forgets_outcomes"
    FORGETS_AT_POWER_LOSS = "forgets_at_power_loss"
    ANSWERS_BEFORE_ACTING = "answers_before_acting"
    ARMS_FOR_EVER = "arms_for_ever"
    ARMS_LONGER_AT_EACH_REPEAT = "arms_longer_at_each_repeat"
    OPERATES_WITHOUT_NONCE = "operates_without_nonce"
    OPERATES_ANYTHING = "operates_anything"
    CUTS_IN_ONE_STEP = "cuts_in_one_step"
    RUNS_LATE_CUTS = "runs_late_cuts"
    KEEPS_CUT_OVER_RECONNECT = "keeps_cut_over_reconnect"
    CUTS_UNSTOPPABLY = "cuts_unstoppably"
    TRIPS_UNDER_GUARANTEE = "trips_under_guarantee"
    HOLDS_ROUNDS_UNDER_GUARANTEE = "holds_rounds_under_guarantee"
    NEVER_GUARANTEES_ALONE = "never_guarantees_alone"
    GUARANTEES_FOR_EVER = "guarantees_for_ever"
    TRIPS_ALL_AT_ONCE = "trips_all_at_once"
    SHEDS_SAFE_LOAD = "sheds_safe_load"
    LOWERS_ON_APPEND = "lowers_on_append"
    TAKES_OLD_ORDERS = "takes_old_orders"
    ADDS_CREDITS = "adds_credits"
    TAKES_RETAINED = "takes_retained"
    RENUMBERS_SPOOL = "renumbers_spool"
    FORGETS_WHAT_IS_MISSING = "forgets_what_is_missing"
    KEEPS_SPOOL_ID = "keeps_spool_id"
    KEEPS_SESSION = "keeps_session"
    CHANGES_SILENTLY = "changes_silently"
    REPORTS_FLOATS = "reports_floats"
    TAKES_CODES_TWICE = "takes_codes_twice"
    COUNTS_SLIPS = "counts_slips"
    TAKES_WRONG_CODES = "takes_wrong_codes"
    LISTENS_TO_ALL_CODES = "listens_to_all_codes"
    RELEASES_LATER_CUTS = "releases_later_cuts"
    RELEASES_WITHOUT_FLAG = "releases_without_flag"


class ProfileError(ValueError):
    """A fleet file that cannot be used; the text names the member and the reason."""


class _Profile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeProfile(_Profile):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 1883


class BrokerProfile(NodeProfile):
    others: tuple[NodeProfile, ...] = Field(
        default=(), description="further nodes of the same broker; terminals begin at different ones and take turns"
    )
    subscribe_qos: Literal[0, 1] = Field(default=1, description="0 for a cluster of NATS")
    ca_file: Path | None = Field(default=None, description="given: TLS, checked against these authorities")


class RoundProfile(_Profile):
    round: RoundNo
    share_percent: Annotated[int, Field(ge=0, le=100)]
    name: str = ""


class Registers(_Profile):
    sharp: Counter = 0
    peak: Counter = 0
    flat: Counter = 0
    valley: Counter = 0


class Initial(_Profile):
    """What a terminal holds when it is unpacked; once it has a memory, the memory counts."""

    supplied_wh: Counter = 0
    registers_wh: Registers = Registers()
    paid_until_wh: Wh | None = Field(default=None, description="null: what was supplied, so nothing remains")
    order_no: OrderNo = 0
    alarm_wh: Wh = 0
    trip_wh: Wh = 0
    control_enabled: bool = False
    control_mode: ControlMode = ControlMode.REMOTE


class TerminalProfile(_Profile):
    """One terminal, what it was given at registration, and its site."""

    terminal_id: TerminalId
    password: str
    service_public_key_pem: str
    service_key_id: str
    service_keys: dict[str, str] = Field(default={}, description="further keys that are pinned, PEM by key id")
    keys_serial: Counter = Field(default=0, description="the key statement that held at registration; 0: none")
    anchor_public_key_pem: str | None = Field(default=None, description="null: the keys are never changed")
    site_key: str | None = Field(default=None, description="base64url, 32 bytes; null: the keypad takes no codes")
    meter_no: Word
    firmware: Word = "wattgate-simulator 1"
    rated_power_w: Annotated[int, Field(ge=0, le=2**40)] = 1_000_000
    shape: Shape = Shape.STEADY
    power_factor_percent: Annotated[int, Field(ge=1, le=100)] = 92
    rounds: tuple[RoundProfile, ...] = (
        RoundProfile(round=1, share_percent=30, name="auxiliary"),
        RoundProfile(round=2, share_percent=40, name="production"),
    )
    trip_order: tuple[RoundNo, ...] = Field(default=(), description="empty: as numbered")
    safe_load_w: Annotated[int, Field(ge=0, le=2**40)] = 0
    initial: Initial = Initial()
    report_interval_s: Annotated[int, Field(ge=1, le=86_400)] = 900
    heartbeat_interval_s: Annotated[int, Field(ge=1, le=3_600)] = 60
    round_alarm_min: Annotated[int, Field(ge=0, le=60)] = 1
    auto_guarantee_min: Minutes = 0
    breaker_delay_s: Seconds = Field(default=0, description="the person at the breaker, after `close` `allow`")
    rate_hours: Annotated[str, StringConstraints(pattern=r"^[spfv]{24}$")] = RATE_HOURS
    spool_capacity: Annotated[int, Field(ge=8, le=100_000)] = 4_096
    seed: int = 0
    defect: Defect | None = Field(default=None, description="planted, for the conformance kit to find")

    @model_validator(mode="after")
    def _rounds_agree(self) -> Self:
        numbers = [fitted.round for fitted in self.rounds]
        if len(set(numbers)) != len(numbers):
            raise ValueError("rounds: a round is named twice")
        if sum(fitted.share_percent for fitted in self.rounds) > _ALL_PERCENT:
            raise ValueError("rounds: the shares are more than 100 percent")
        if set(self.trip_order) - set(numbers) or len(set(self.trip_order)) != len(self.trip_order):
            raise ValueError("trip_order: each number must be a fitted round, and only once")
        return self


class FleetProfile(_Profile):
    broker: BrokerProfile = BrokerProfile()
    clock: ClockProfile = ClockProfile()
    memory_dir: Path | None = Field(default=None, description="null: memories end with the process")
    keep_receipted: bool = Field(
        default=False, description="write what receipts cover to `{terminal_id}.receipted` beside each memory"
    )
    keep_witnessed: bool = Field(
        default=False, description="write what each terminal does to `{terminal_id}.witnessed` beside each memory"
    )
    tick_ms: Annotated[int, Field(ge=1, le=10_000)] = 50
    connects_per_s: Annotated[int, Field(ge=1, le=10_000)] = 500
    connecting_at_most: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=32, description="connects that wait for the broker's answer at once"
    )
    keepalive_s: Annotated[int, Field(ge=5, le=60)] = 60
    terminals: tuple[TerminalProfile, ...]

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        seen: set[str] = set()
        for terminal in self.terminals:
            if terminal.terminal_id in seen:
                raise ValueError(f"terminals: {terminal.terminal_id} is named twice")
            seen.add(terminal.terminal_id)
        return self


def load(path: Path) -> FleetProfile:
    """Read a fleet file in YAML or JSON.

    Raises:
        ProfileError: with every member that is wrong, one a line.
        OSError: the file cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        return FleetProfile.model_validate(content)
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(str(part) for part in found['loc']) or 'file'}: {found['msg']}"
            for found in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise ProfileError("\n".join(lines)) from error
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise ProfileError(f"{path}: not readable as YAML or JSON: {error}") from error


def many(
    like: TerminalProfile,
    *,
    ids: Iterable[str],
    password: Callable[[str], str] | None = None,
) -> tuple[TerminalProfile, ...]:
    """Return terminals that differ only in id, password, meter number and seed, made without validating again.

    ``password`` gives the password of an id; without it all share that of ``like``.
    """
    return tuple(
        like.model_copy(
            update={
                "terminal_id": terminal_id,
                "password": like.password if password is None else password(terminal_id),
                "meter_no": f"M-{terminal_id}",
                "seed": number,
            }
        )
        for number, terminal_id in enumerate(ids)
    )
