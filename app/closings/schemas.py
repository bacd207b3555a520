"""HTTP shapes of closings."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.closings.queries import Asked, ClosingSeen
from app.closings.rules import ClosingState, Outcome, Settlement
from app.load_control.schemas import ReasonShown
from app.purchases.schemas import TenderShape
from app.quantities import fen_to_yuan, nanofen_to_fen
from app.refunds.schemas import Reason
from app.shifts.rules import Tender

FractionOfFen = Annotated[
    str, Field(description="the fraction of a fen that nobody can pay, in fen", examples=["0.5"])
]
MoneyFen = Annotated[int, Field(description="above zero out to the customer, below zero to be paid by the customer")]


class ClosingToAsk(BaseModel):
    """Why the account is to be closed."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(examples=["the works moves to another district"])


class ReleaseOfClosing(BaseModel):
    """Why the closing may be finished before the terminal has shown its last order."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(examples=["the terminal was taken down; the meter was read on site"])


class Finish(BaseModel):
    """In what form the money moves, out or in; without tenders in cash, where any moves."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{}, {"tenders": [{"kind": "transfer", "amount_yuan": "741.10", "reference": "20260302-7"}]}]
        },
    )

    tenders: list[TenderShape] = Field(default=[], max_length=10)

    @property
    def taken(self) -> tuple[Tender, ...]:
        return tuple(tender.as_tender() for tender in self.tenders)


class PartShown(BaseModel):
    """What is left of one purchase, or of the opening balance, and its value at what was paid for it."""

    name: str = Field(description="the purchase's number, or `opening`", examples=["P20260302-0000001"])
    energy_wh: int
    worth_fen: str = Field(examples=["84110.2971"])

    @classmethod
    def of(cls, *, name: str, energy_wh: int, worth_nfen: int) -> Self:
        return cls(name=name, energy_wh=energy_wh, worth_fen=_fen(worth_nfen))


class ClosingQuote(BaseModel):
    """What the account comes to. Energy in Wh, money in fen."""

    outcome: Outcome
    money_fen: MoneyFen
    money_yuan: str = Field(examples=["741.10"])
    reading_wh: int = Field(description="the final reading of the terminal's counter")
    remaining_wh: int = Field(description="taken back from the terminal; below zero: used beyond what was granted")
    lent_wh: int = Field(description="emergency credit that stands; given back in energy, without a value")
    parts: list[PartShown]
    kept_before_fen: str = Field(description="money kept, counted as paid")
    overused_wh: int = Field(description="used beyond what was paid")
    overused_fen: int = Field(description="what that costs at the price in force, rounded half-up to the fen")
    debt_fen: int
    fraction_fen: FractionOfFen

    @classmethod
    def of(cls, asked: Asked, settled: Settlement) -> Self:
        return cls(
            outcome=settled.outcome,
            money_fen=settled.money_fen,
            money_yuan=f"{fen_to_yuan(settled.money_fen):f}",
            reading_wh=asked.account.reading_wh,
            remaining_wh=settled.remaining_wh,
            lent_wh=settled.lent_wh,
            parts=[PartShown.of(**part._asdict()) for part in settled.parts],
            kept_before_fen=_fen(settled.kept_before_nfen),
            overused_wh=settled.overused_wh,
            overused_fen=settled.overused_fen,
            debt_fen=settled.debt_fen,
            fraction_fen=_fen(settled.kept_after_nfen),
        )


class ClosingShown(ClosingQuote):
    """A closing, and whether the terminal has given its energy up."""

    id: UUID
    contract_no: str
    supply_point_id: UUID
    state: ClosingState
    reason: str
    order_no: int
    command_id: UUID | None
    given_up: bool = Field(
        description="the terminal has shown this order or a later one, and read its counter after it"
    )
    held: list[ReasonShown] = Field(
        description="why the terminal is not told to give the energy up; withdraw the closing where load came back"
    )
    used_since_wh: int = Field(description="used after the final reading; above zero it cannot be finished")
    asked_by: UUID
    asked_at: datetime
    released_by: UUID | None
    released_because: str | None
    ended_at: datetime | None
    receipt_no: str | None

    @classmethod
    def seen(cls, found: ClosingSeen) -> Self:
        closing = found.closing
        same = (
            "id", "supply_point_id", "reason", "order_no", "command_id", "asked_by", "asked_at", "released_by",
            "released_because", "ended_at", "reading_wh", "remaining_wh", "lent_wh", "overused_wh", "overused_fen",
            "debt_fen", "money_fen",
        )  # fmt: skip
        copied: dict[str, Any] = {name: getattr(closing, name) for name in same}
        return cls(
            **copied,
            contract_no=found.contract_no,
            state=ClosingState(closing.state),
            outcome=Outcome(closing.outcome),
            money_yuan=f"{fen_to_yuan(closing.money_fen):f}",
            parts=[PartShown.of(**part) for part in closing.parts],
            kept_before_fen=_fen(closing.kept_before_nfen),
            fraction_fen=_fen(closing.kept_after_nfen),
            given_up=found.given_up,
            held=[ReasonShown(**reason) for reason in found.held],
            used_since_wh=found.used_since_wh,
            receipt_no=found.receipt_no,
        )


def _fen(amount_nfen: int) -> str:
    return f"{nanofen_to_fen(amount_nfen).normalize():f}"
