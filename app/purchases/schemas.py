"""HTTP shapes of quotes, purchases and receipts."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.load_control.schemas import ReasonShown
from app.purchases.queries import Counter, Receipt
from app.purchases.rules import Quote, hours_of_supply
from app.purchases.service import Sold
from app.quantities import fen_to_yuan, nanofen_to_fen, yuan_to_fen
from app.shifts.rules import Tender, TenderKind
from app.site_codes.queries import CodeGiven
from app.site_codes.schemas import SiteCodeShown


def _whole_fen(amount: str) -> str:
    yuan_to_fen(Decimal(amount))
    return amount


AmountYuan = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,12}(\.[0-9]{1,2})?$"),
    AfterValidator(_whole_fen),
    Field(
        description='Yuan as text, above zero, with at most two decimals: "50000.00"; never a JSON number',
        examples=["50000.00"],
    ),
]


ContractNo = Annotated[
    str,
    StringConstraints(min_length=1, max_length=30, pattern=r"^[^\x00-\x1f\x7f]+$"),
    Field(examples=["HT-2026-0001"]),
]


Reference = Annotated[str, StringConstraints(strip_whitespace=True, max_length=60, pattern=r"^[^\x00-\x1f\x7f]*$")]


class PurchaseRequest(BaseModel):
    """What the cashier asks for."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"contract_no": "HT-2026-0001", "amount_yuan": "50000.00"}]}
    )

    contract_no: ContractNo
    amount_yuan: AmountYuan

    @property
    def paid_fen(self) -> int:
        return yuan_to_fen(Decimal(self.amount_yuan))


class TenderShape(BaseModel):
    """Money in one form; all but cash needs the number of its slip."""

    model_config = ConfigDict(extra="forbid")

    kind: TenderKind
    amount_yuan: AmountYuan
    reference: Reference = ""

    def as_tender(self) -> Tender:
        return Tender(kind=self.kind, amount_fen=yuan_to_fen(Decimal(self.amount_yuan)), reference=self.reference)


class SaleRequest(PurchaseRequest):
    """A purchase and how it is paid; without tenders it is paid in cash."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "contract_no": "HT-2026-0001",
                    "amount_yuan": "50000.00",
                    "tenders": [
                        {"kind": "cash", "amount_yuan": "1000.00"},
                        {"kind": "transfer", "amount_yuan": "49000.00", "reference": "20260302-0042"},
                    ],
                }
            ]
        }
    )

    tenders: list[TenderShape] = Field(default=[], max_length=10)

    @property
    def taken(self) -> tuple[Tender, ...]:
        return tuple(tender.as_tender() for tender in self.tenders)


class QuoteOut(BaseModel):
    """What an amount would buy now. Energy in Wh, money in fen; ``kept_fen`` buys with the next purchase."""

    contract_no: str
    paid_fen: int = Field(examples=[5_000_000])
    debt_paid_fen: int = Field(description="old debt, paid off first", examples=[0])
    energy_wh: int = Field(examples=[62_500_000])
    energy_kwh: str = Field(examples=["62500.000"])
    emergency_repaid_wh: int = Field(description="of that energy, what gives back emergency credit", examples=[0])
    kept_fen: str = Field(description="money below the price of one Wh, exact, kept for the next purchase")
    price_yuan_per_kwh: str = Field(examples=["0.8"])
    price_valid_until: datetime | None
    hours_of_supply: int | None = Field(description="how long the energy lasts at the recent load", examples=[125])

    @classmethod
    def of(cls, known: Counter, priced: Quote) -> "QuoteOut":
        return cls(
            contract_no=known.contract_no,
            paid_fen=priced.paid_fen,
            debt_paid_fen=priced.debt_paid_fen,
            energy_wh=priced.energy_wh,
            energy_kwh=_kwh(priced.energy_wh),
            emergency_repaid_wh=priced.emergency_repaid_wh,
            kept_fen=f"{nanofen_to_fen(priced.kept_after_nfen).normalize():f}",
            price_yuan_per_kwh=_price(known.yuan_per_kwh),
            price_valid_until=known.price_until,
            hours_of_supply=hours_of_supply(priced.energy_wh, load_w=known.recent_load_w),
        )


class PurchaseOut(QuoteOut):
    """A purchase as it was booked; the same key always gives these same bytes."""

    purchase_no: str = Field(examples=["P20260302-0000001"])
    receipt_no: str = Field(description="rises by one with every receipt of the till", examples=["PD-1-0000001"])
    order_no: int = Field(description="rises strictly for each terminal", examples=[1])
    supply_point_id: UUID
    terminal_id: str
    paid_until_wh: int = Field(description="reading of the terminal's counter up to which energy is paid")
    command_id: UUID | None = Field(description="the credit on its way to the terminal; none if only debt was paid")
    booked_at: datetime

    @classmethod
    def of_sale(cls, sold: Sold) -> "PurchaseOut":
        return cls(
            **QuoteOut.of(sold.counter, sold.quote).model_dump(),
            purchase_no=sold.purchase_no,
            receipt_no=sold.receipt_no,
            order_no=sold.order_no,
            supply_point_id=sold.counter.supply_point_id,
            terminal_id=sold.counter.terminal_id,
            paid_until_wh=sold.paid_until_wh,
            command_id=sold.command_id,
            booked_at=sold.booked_at,
        )


class CreditOut(BaseModel):
    """How far the credit has come: four facts, each with its time."""

    command_id: UUID
    state: str = Field(examples=["verified"])
    sent_at: datetime | None
    received_at: datetime | None
    executed_at: datetime | None
    verified_at: datetime | None
    outcome: str | None
    held: list[ReasonShown] | None = Field(description="why it is not sent for now: it could lower what is there")


class ReceiptOut(BaseModel):
    """A purchase as it stands on its receipt, and how far its credit has come."""

    purchase_no: str
    receipt_no: str | None
    booked_at: datetime
    customer_no: str
    customer_zh: str
    customer_en: str
    contract_no: str
    point_no: str
    terminal_id: str
    cashier: str
    paid_fen: int
    paid_yuan: str = Field(examples=["50000.00"])
    debt_paid_fen: int
    deposited_fen: int
    price_yuan_per_kwh: str
    energy_wh: int
    energy_kwh: str
    emergency_repaid_wh: int
    kept_fen: str
    order_no: int
    paid_until_wh: int
    credit: CreditOut | None

    @classmethod
    def of(cls, found: Receipt) -> "ReceiptOut":
        purchase = found.purchase
        return cls(
            purchase_no=purchase.purchase_no,
            receipt_no=found.receipt_no,
            booked_at=purchase.booked_at,
            customer_no=found.customer_no,
            customer_zh=found.customer_zh,
            customer_en=found.customer_en,
            contract_no=found.contract_no,
            point_no=found.point_no,
            terminal_id=purchase.terminal_id,
            cashier=found.cashier,
            paid_fen=purchase.paid_fen,
            paid_yuan=f"{fen_to_yuan(purchase.paid_fen):f}",
            debt_paid_fen=purchase.debt_paid_fen,
            deposited_fen=purchase.paid_fen - purchase.debt_paid_fen,
            price_yuan_per_kwh=_price(purchase.yuan_per_kwh),
            energy_wh=purchase.energy_wh,
            energy_kwh=_kwh(purchase.energy_wh),
            emergency_repaid_wh=purchase.emergency_repaid_wh,
            kept_fen=f"{nanofen_to_fen(purchase.kept_after_nfen).normalize():f}",
            order_no=purchase.order_no,
            paid_until_wh=purchase.paid_until_wh,
            credit=_credit(found),
        )


class PurchaseWholeOut(ReceiptOut):
    """A purchase with the site code that was given out for it, or for a later order, which contains it."""

    site_code: SiteCodeShown | None = Field(description="without its digits; null: none was given out")

    @classmethod
    def whole(cls, found: Receipt, *, site_code: CodeGiven | None) -> "PurchaseWholeOut":
        return cls(**ReceiptOut.of(found).model_dump(), site_code=SiteCodeShown.maybe(site_code))


def _credit(found: Receipt) -> CreditOut | None:
    credit = found.credit
    if credit is None:
        return None
    return CreditOut(
        command_id=credit.id,
        state=credit.state,
        sent_at=credit.sent_at,
        received_at=credit.received_at,
        executed_at=credit.executed_at,
        verified_at=credit.verified_at,
        outcome=credit.outcome,
        held=[ReasonShown(**reason) for reason in credit.held or []] if credit.ended_at is None else None,
    )


def _kwh(energy_wh: int) -> str:
    return f"{Decimal(energy_wh).scaleb(-3):f}"


def _price(yuan_per_kwh: Decimal) -> str:
    return f"{yuan_per_kwh.normalize():f}"
