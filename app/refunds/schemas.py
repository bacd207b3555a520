"""HTTP shapes of refunds."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.load_control.schemas import ReasonShown
from app.purchases.schemas import Reference
from app.quantities import fen_to_yuan, nanofen_to_fen
from app.refunds.queries import Asked, RefundSeen
from app.refunds.rules import RefundKind, RefundState, TakeBack
from app.refunds.service import NewRefund
from app.shifts.rules import Tender, TenderKind

Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=3, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"),
]
PurchaseNo = Annotated[str, StringConstraints(pattern=r"^P[0-9]{8}-[0-9]{7,12}$")]


class RefundToAsk(BaseModel):
    """``reversal``: the purchase was a mistake, all of it. ``refund``: money for what is unused, or a part of it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"purchase_no": "P20260302-0000001", "kind": "reversal", "reason": "sold on the wrong contract"},
                {
                    "purchase_no": "P20260302-0000001",
                    "kind": "refund",
                    "energy_wh": 1_000_000,
                    "reason": "the works closes for the winter",
                },
            ]
        },
    )

    purchase_no: PurchaseNo
    kind: RefundKind
    energy_wh: int | None = Field(
        default=None, ge=1, le=2**53, description="of a refund; without it all that is unused and can be spared"
    )
    reason: Reason

    def to_ask(self, *, asked_by: UUID) -> NewRefund:
        return NewRefund(
            purchase_no=self.purchase_no,
            kind=self.kind,
            energy_wh=self.energy_wh if self.kind is RefundKind.REFUND else None,
            reason=self.reason,
            asked_by=asked_by,
        )


class RefundQuote(BaseModel):
    """What would be taken back now. Energy in Wh, money in fen."""

    energy_wh: int
    unused_wh: int = Field(description="of this purchase, by the terminal's last report")
    remaining_wh: int = Field(description="at the supply point, before")
    money_fen: int
    money_yuan: str = Field(examples=["813.00"])
    debt_reopened_fen: int
    kept_fen: str = Field(description="money below one fen, kept for the next purchase")

    @classmethod
    def of(cls, asked: Asked, taken: TakeBack) -> Self:
        return cls(
            energy_wh=taken.energy_wh,
            unused_wh=asked.standing.left_wh,
            remaining_wh=asked.standing.remaining_wh,
            money_fen=taken.money_fen,
            money_yuan=f"{fen_to_yuan(taken.money_fen):f}",
            debt_reopened_fen=taken.debt_reopened_fen,
            kept_fen=f"{nanofen_to_fen(taken.kept_after_nfen).normalize():f}",
        )


class RefundShown(BaseModel):
    """A refund, and whether the terminal has given the energy up."""

    id: UUID
    purchase_no: str
    supply_point_id: UUID
    kind: RefundKind
    state: RefundState
    reason: str
    energy_wh: int
    money_fen: int
    debt_reopened_fen: int
    paid_until_wh: int
    order_no: int
    command_id: UUID | None
    taken_back: bool = Field(
        description="the terminal has shown this order, or a later one that it was given, and holds no more"
    )
    held: list[ReasonShown] = Field(
        description="why the terminal is not told to give the energy up; withdraw the refund where it has been used"
    )
    asked_by: UUID
    asked_at: datetime
    released_by: UUID | None
    released_because: str | None
    ended_at: datetime | None
    receipt_no: str | None
    regranted_wh: int | None = Field(description="withdrawn: what the money has bought again")

    @classmethod
    def of(cls, seen: RefundSeen) -> Self:
        refund = seen.refund
        return cls(
            id=refund.id,
            purchase_no=seen.purchase_no,
            supply_point_id=refund.supply_point_id,
            kind=RefundKind(refund.kind),
            state=RefundState(refund.state),
            reason=refund.reason,
            energy_wh=refund.energy_wh,
            money_fen=refund.deposit_back_fen + refund.debt_reopened_fen,
            debt_reopened_fen=refund.debt_reopened_fen,
            paid_until_wh=refund.paid_until_wh,
            order_no=refund.order_no,
            command_id=refund.command_id,
            taken_back=seen.taken_back,
            held=[ReasonShown(**reason) for reason in seen.held],
            asked_by=refund.asked_by,
            asked_at=refund.asked_at,
            released_by=refund.released_by,
            released_because=refund.released_because,
            ended_at=refund.ended_at,
            receipt_no=seen.receipt_no,
            regranted_wh=refund.regranted_wh,
        )


class Release(BaseModel):
    """Why the money may go before the terminal has shown anything."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(examples=["the terminal was destroyed by fire; the meter was read on site"])


class PayOut(BaseModel):
    """In what form the money goes out; a reversal goes back the way the money came."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["cash", "transfer"] = "cash"
    reference: Reference = Field(default="", description="the number of the transfer's slip")

    def as_tender(self) -> Tender:
        return Tender(kind=TenderKind(self.kind), amount_fen=0, reference=self.reference)
