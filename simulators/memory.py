"""What survives power loss: one state file a terminal, written whole and put in place in one move."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from app.mqtt.messages import (
    CommandResult,
    ControlMode,
    Guarantee,
    LimitArgs,
    TerminalStage,
    WarnArgs,
)
from simulators.profile import TerminalProfile


class Cause(StrEnum):
    """Why a round is tripped or released."""

    ORDER = "order"
    ALLOWANCE = "allowance"
    LIMIT = "limit"
    GUARANTEE = "guarantee"
    SITE = "site"
    SITE_CODE = "site_code"


class Metered(BaseModel):
    """The counters; whole units with what is left of one carried in W·µs (var·µs)."""

    metered_at: datetime
    supplied_wh: int
    rest_w_us: int = 0
    sharp: int
    peak: int
    flat: int
    valley: int
    reactive_varh: int = 0
    reactive_rest_var_us: int = 0
    demand_w_us: int = 0
    max_demand_w: int = 0
    max_demand_at: datetime


class Kept(BaseModel):
    """All that a terminal finds again after a power loss, besides its spool."""

    boot: int = 0
    clock_offset_us: int = 0
    metered: Metered
    paid_until_wh: int
    order_no: int
    alarm_wh: int
    trip_wh: int
    control_enabled: bool
    mode: ControlMode
    guarantee: Guarantee = Guarantee.OFF
    guarantee_until: datetime | None = None
    limit: LimitArgs | None = None
    warning: WarnArgs | None = None
    alarmed: bool = False
    #: Tripped rounds with every cause that holds them open.
    tripped: dict[int, set[Cause]] = {}
    #: Rounds tripped by order for a limited time, true time of their release.
    released_at: dict[int, datetime] = {}
    report_interval_s: int
    heartbeat_interval_s: int
    trip_order: list[int]
    round_alarm_min: int
    auto_guarantee_min: int
    alarm_hours: str = "1" * 24
    slots: dict[str, int] = {}
    #: Which key signed the command that a slot's version is from.
    slot_key_ids: dict[str, str] = {}
    #: Keys of the last statement, as it lists them; empty while those of the registration hold.
    keys: dict[str, str] = {}
    keys_serial: int = 0
    results: list[CommandResult] = []
    #: Site codes of orders up to this one give back nothing: a cut has come after them.
    codes_spent: int = 0
    #: Site codes with a MAC that did not fit, since the last one that was applied.
    wrong_codes: int = 0

    @property
    def remaining_wh(self) -> int:
        return self.paid_until_wh - self.metered.supplied_wh

    def stage(self, rounds: str) -> TerminalStage:
        if "0" in rounds:
            return TerminalStage.TRIPPED
        if self.limit is not None:
            return TerminalStage.LIMITED
        if self.warning is not None or self.alarmed:
            return TerminalStage.ALARM
        return TerminalStage.NORMAL


def factory_new(profile: TerminalProfile, *, at: datetime) -> Kept:
    """Return what a terminal holds that was switched on for the first time."""
    initial = profile.initial
    paid_until_wh = initial.supplied_wh if initial.paid_until_wh is None else initial.paid_until_wh
    return Kept(
        metered=Metered(
            metered_at=at,
            supplied_wh=initial.supplied_wh,
            max_demand_at=at,
            **initial.registers_wh.model_dump(),
        ),
        paid_until_wh=paid_until_wh,
        order_no=initial.order_no,
        alarm_wh=initial.alarm_wh,
        trip_wh=initial.trip_wh,
        control_enabled=initial.control_enabled,
        mode=initial.control_mode,
        report_interval_s=profile.report_interval_s,
        heartbeat_interval_s=profile.heartbeat_interval_s,
        trip_order=list(profile.trip_order) or sorted(fitted.round for fitted in profile.rounds),
        round_alarm_min=profile.round_alarm_min,
        auto_guarantee_min=profile.auto_guarantee_min,
    )


class Memory(Protocol):
    """Where a terminal keeps its state and the journal of its spool."""

    def load(self) -> Kept | None: ...

    def save(self, kept: Kept) -> None: ...

    def read_journal(self) -> list[bytes]: ...

    def append_journal(self, line: bytes) -> None: ...

    def replace_journal(self, lines: list[bytes]) -> None: ...

    def note_receipted(self, line: bytes) -> None: ...

    def note_witnessed(self, seen: list[dict[str, Any]]) -> None: ...

    def close(self) -> None: ...


class VolatileMemory:
    """Survives a power loss of the terminal but not the end of the process: for big fleets."""

    def __init__(self) -> None:
        self._kept: Kept | None = None
        self._journal: list[bytes] = []

    def load(self) -> Kept | None:
        return self._kept

    def save(self, kept: Kept) -> None:
        self._kept = kept

    def read_journal(self) -> list[bytes]:
        return self._journal

    def append_journal(self, line: bytes) -> None:
        self._journal.append(line)

    def replace_journal(self, lines: list[bytes]) -> None:
        self._journal = lines

    def note_receipted(self, line: bytes) -> None:
        """Nobody will ask."""

    def note_witnessed(self, seen: list[dict[str, Any]]) -> None:
        """Nobody will ask."""

    def close(self) -> None:
        """Nothing is open."""


class FileMemory:
    """``{terminal_id}.json`` and ``{terminal_id}.spool`` in one directory.

    With ``keep_receipted`` also ``{terminal_id}.receipted``: the numbers that each receipt let the terminal forget,
    one JSON line a receipt, for whoever asks afterwards whether the service has all of them. With ``keep_witnessed``
    also ``{terminal_id}.witnessed``: what it did and with what right, by the machine's clock that no fault moves.
    """

    def __init__(
        self, directory: Path, *, terminal_id: str, keep_receipted: bool = False, keep_witnessed: bool = False
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._state_path = directory / f"{terminal_id}.json"
        self._journal_path = directory / f"{terminal_id}.spool"
        self._journal = self._journal_path.open("ab")
        self._receipted = (directory / f"{terminal_id}.receipted").open("ab") if keep_receipted else None
        self._witnessed = (directory / f"{terminal_id}.witnessed").open("ab") if keep_witnessed else None

    def load(self) -> Kept | None:
        """Return the state that was kept, or nothing for a new terminal.

        Raises:
            ValueError: the file is no state of a terminal.
        """
        if not self._state_path.exists():
            return None
        return Kept.model_validate_json(self._state_path.read_bytes())

    def save(self, kept: Kept) -> None:
        _put_in_place(self._state_path, content=kept.model_dump_json().encode())

    def read_journal(self) -> list[bytes]:
        return self._journal_path.read_bytes().splitlines()

    def append_journal(self, line: bytes) -> None:
        self._journal.write(line + b"\n")
        self._journal.flush()

    def replace_journal(self, lines: list[bytes]) -> None:
        self._journal.close()
        _put_in_place(self._journal_path, content=b"".join(line + b"\n" for line in lines))
        self._journal = self._journal_path.open("ab")

    def note_receipted(self, line: bytes) -> None:
        if self._receipted is not None:
            self._receipted.write(line + b"\n")
            self._receipted.flush()

    def note_witnessed(self, seen: list[dict[str, Any]]) -> None:
        if self._witnessed is not None:
            machine_at = datetime.now(UTC).isoformat()
            stamped = ({"machine_at": machine_at, **one} for one in seen)
            self._witnessed.write(b"".join(json.dumps(one).encode() + b"\n" for one in stamped))
            self._witnessed.flush()

    def close(self) -> None:
        self._journal.close()
        if self._witnessed is not None:
            self._witnessed.close()
        if self._receipted is not None:
            self._receipted.close()


def _put_in_place(path: Path, *, content: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(content)
    fresh.replace(path)
