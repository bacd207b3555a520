"""HTTP shapes of cheques."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.cheques.queries import Found
from app.cheques.rules import ChequeState, days_in_clearing
from app.cheques.service import NewCheque
from app.purchases.schemas import AmountYuan, ContractNo
from app.quantities import fen_to_yuan, yuan_to_fen

_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"

ChequeNo = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z-]{1,20}$"), Field(examples=["30109810"])]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_PRINTABLE)]
BankReference = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=35, pattern=_PRINTABLE)
]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300, pattern=_PRINTABLE)]


class ChequeToTake(BaseModel):
    """A cheque as it lies on the counter."""

    model_config = ConfigDict(extra="forbid")

    contract_no: ContractNo
    amount_yuan: AmountYuan
    cheque_no: ChequeNo
    bank: Name = Field(examples=["中国工商银行浦东分行"])
    drawer: Name = Field(examples=["上海东方精密机械有限公司"])
    drawn_on: date = Field(description="the date written on the cheque", examples=["2026-03-02"])

    def as_cheque(self) -> NewCheque:
        return NewCheque(
            contract_no=self.contract_no,
            amount_fen=yuan_to_fen(Decimal(self.amount_yuan)),
            cheque_no=self.cheque_no,
            bank=self.bank,
            drawer=self.drawer,
            drawn_on=self.drawn_on,
        )


class ChequeToClear(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bank_reference: BankReference = Field(
        description="the number under which the bank has credited it", examples=["B20260305-0017"]
    )


class ChequeToReturn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(description="what the bank says", examples=["存款不足 insufficient funds"])


class ChequeShown(BaseModel):
    """A cheque, how long it has been in clearing, and what became of it."""

    id: UUID
    state: ChequeState
    contract_no: str
    customer_no: str
    amount_fen: int
    amount_yuan: str = Field(examples=["50000.00"])
    cheque_no: str
    bank: str
    drawer: str
    drawn_on: date
    taken_at: datetime
    receipt_no: str
    days_in_clearing: int = Field(description="whole days from the till to the bank's word, or until now")
    ended_at: datetime | None
    bank_reference: str | None
    purchase_no: str | None
    return_reason: str | None
    return_receipt_no: str | None

    @classmethod
    def of(cls, found: Found, *, now: datetime) -> Self:
        cheque = found.cheque
        return cls(
            id=cheque.id,
            state=ChequeState(cheque.state),
            contract_no=found.contract_no,
            customer_no=found.customer_no,
            amount_fen=cheque.amount_fen,
            amount_yuan=f"{fen_to_yuan(cheque.amount_fen):f}",
            cheque_no=cheque.cheque_no,
            bank=cheque.bank,
            drawer=cheque.drawer,
            drawn_on=cheque.drawn_on,
            taken_at=cheque.taken_at,
            receipt_no=found.receipt_no,
            days_in_clearing=days_in_clearing(cheque.taken_at, until=cheque.ended_at or now),
            ended_at=cheque.ended_at,
            bank_reference=cheque.bank_reference,
            purchase_no=cheque.purchase_no,
            return_reason=cheque.return_reason,
            return_receipt_no=found.return_receipt_no,
        )
