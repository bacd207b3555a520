"""Terminal exchanges as the API takes and shows them."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.exchanges.models import TerminalExchange
from app.exchanges.service import Wanted
from app.terminals.schemas import MeterNo, RoundShape, TerminalId, TerminalRegistered
from app.terminals.service import NewRound, NewTerminal

_LARGEST_POWER_W = 2**40
_LARGEST_READING_WH = 2**53

Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=2, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"),
]


class TerminalToExchange(BaseModel):
    """The new terminal, and both counters as they were read on site when one took over from the other."""

    model_config = ConfigDict(extra="forbid")

    terminal_id: TerminalId = Field(description="the new terminal", examples=["SH-PD-0101"])
    meter_no: MeterNo = Field(examples=["M0101"])
    safe_load_w: int = Field(
        ge=0, le=_LARGEST_POWER_W, description="power in W that is never cut (保安负荷)", examples=[50_000]
    )
    rounds: list[RoundShape] = Field(min_length=1, max_length=8)
    old_final_wh: int = Field(
        ge=0, le=_LARGEST_READING_WH, description="last reading of the old counter", examples=[12_345_678]
    )
    new_start_wh: int = Field(
        ge=0, le=_LARGEST_READING_WH, description="reading of the new counter at that moment", examples=[0]
    )
    reason: Reason = Field(examples=["the display is broken"])

    @model_validator(mode="after")
    def _each_round_once(self) -> Self:
        numbers = [fitted.round for fitted in self.rounds]
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        if twice:
            raise ValueError(f"each round is fitted once; given more than once: {twice}")
        return self

    def wanted(self, supply_point_id: UUID, *, credential: str, by: UUID) -> Wanted:
        new = NewTerminal(
            terminal_id=self.terminal_id,
            supply_point_id=supply_point_id,
            meter_no=self.meter_no,
            safe_load_w=self.safe_load_w,
            rounds=tuple(NewRound(**fitted.model_dump()) for fitted in self.rounds),
        )
        return Wanted(
            new=new,
            credential=credential,
            old_final_wh=self.old_final_wh,
            new_start_wh=self.new_start_wh,
            reason=self.reason,
            exchanged_by=by,
        )


class TerminalExchangeShown(BaseModel):
    id: UUID
    supply_point_id: UUID
    old_terminal_id: str = Field(examples=["SH-PD-0001"])
    new_terminal_id: str = Field(examples=["SH-PD-0101"])
    old_final_wh: int
    new_start_wh: int
    supplied_wh: int = Field(description="posted with the exchange: supplied since the last posting")
    remaining_wh: int = Field(description="paid for and not supplied at that moment, the same in both counters")
    paid_until_before_wh: int = Field(description="in readings of the old counter")
    paid_until_after_wh: int = Field(description="in readings of the new counter")
    order_no: int = Field(description="the order that carries the energy to the new terminal; 0 before any sale")
    command_id: UUID | None
    reason: str
    exchanged_by: UUID
    exchanged_at: datetime

    @classmethod
    def of(cls, made: TerminalExchange) -> Self:
        remaining_wh = made.paid_until_after_wh - made.new_start_wh
        columns = {name: getattr(made, name) for name in cls.model_fields if name != "remaining_wh"}
        return cls(**columns, remaining_wh=remaining_wh)


class TerminalExchanged(BaseModel):
    """The exchange, and what is written into the new terminal."""

    exchange: TerminalExchangeShown
    registered: TerminalRegistered
