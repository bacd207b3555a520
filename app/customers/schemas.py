"""Customers, supply contracts and purchase prices as the API takes and shows them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    StringConstraints,
    model_validator,
)

from app.customers.models import Contact, Customer, PurchasePrice, SupplyPoint
from app.customers.queries import ContractAtPoint, CustomerWhole
from app.customers.rules import ControlMode, ImportantUser, Industry, NoticePeriods, Threshold, Thresholds
from app.customers.service import NewContact, NewContract, NewCustomer, NewPrice, NewSupplyPoint
from app.http.moments import Moment

#: Numbers stand in addresses and on paper: letters, digits, dot, hyphen, underscore.
NUMBER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f]*$"
_LARGEST_CAPACITY_KVA = 10_000_000
_LARGEST_ENERGY_WH = 10**15
_A_YEAR_S = 366 * 24 * 3600

CustomerNo = Annotated[str, StringConstraints(min_length=1, max_length=20, pattern=NUMBER_PATTERN)]
PointNo = CustomerNo
ContractNo = Annotated[str, StringConstraints(min_length=1, max_length=30, pattern=NUMBER_PATTERN)]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=_NO_CONTROL_CHARACTERS)
]
Word = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60, pattern=_NO_CONTROL_CHARACTERS)
]
Phone = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^\+?[0-9][0-9 ()/-]{2,38}$")]
Email = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")]
EnergyWh = Annotated[int, Field(ge=0, le=_LARGEST_ENERGY_WH)]
SupplyHours = Annotated[int, Field(ge=1, le=10_000)]
NoticeSeconds = Annotated[int, Field(ge=0, le=_A_YEAR_S)]


def _above_zero(price: str) -> str:
    if Decimal(price) == 0:
        raise ValueError("a price is above zero")
    return price


PriceText = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,6}(\.[0-9]{1,8})?$"),
    AfterValidator(_above_zero),
    Field(
        description='yuan per kWh as text, above zero, at most eight decimals: "0.8130"; never a JSON number',
        examples=["0.8130"],
    ),
]
Price = Annotated[
    Decimal,
    PlainSerializer(lambda price: f"{price.normalize():f}", return_type=str),
    Field(description="yuan per kWh as text, exact", examples=["0.813"]),
]


class ContactShape(BaseModel):
    """A person at the customer who is told things, in the language that is asked for."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Name, Field(max_length=100, examples=["王强"])]
    duty: Annotated[Name, Field(max_length=100, examples=["电气主管 chief electrician"])]
    phone: Phone = Field(examples=["+86 138 0000 0001"])
    email: Email | None = Field(default=None, examples=["wang.qiang@example.com"])
    language: Annotated[str, StringConstraints(pattern="^(zh|en)$")] = Field(default="zh", examples=["zh"])

    @classmethod
    def of(cls, contact: Contact) -> "ContactShape":
        # Not checked again: what is stored is shown as it is.
        return cls.model_construct(**{name: getattr(contact, name) for name in cls.model_fields})


class CustomerToRegister(BaseModel):
    model_config = ConfigDict(extra="forbid")

    customer_no: CustomerNo = Field(examples=["C0001"])
    office_code: Word = Field(examples=["SH-PD"])
    name_zh: Name = Field(examples=["东方钢铁有限公司"])
    name_en: Name = Field(examples=["Oriental Steel Co., Ltd."])
    industry: Industry = Field(examples=["metallurgy"])
    contacts: list[ContactShape] = Field(default=[], max_length=20)

    def to_register(self, *, office_id: UUID) -> NewCustomer:
        return NewCustomer(
            customer_no=self.customer_no,
            office_id=office_id,
            name_zh=self.name_zh,
            name_en=self.name_en,
            industry=self.industry,
            contacts=tuple(NewContact(**contact.model_dump()) for contact in self.contacts),
        )


class CustomerShown(BaseModel):
    id: UUID
    customer_no: str = Field(examples=["C0001"])
    office_id: UUID
    name_zh: str = Field(examples=["东方钢铁有限公司"])
    name_en: str = Field(examples=["Oriental Steel Co., Ltd."])
    industry: Industry
    created_at: datetime

    @classmethod
    def of(cls, customer: Customer) -> Self:
        return cls.model_validate(customer, from_attributes=True)


class SupplyPointShape(BaseModel):
    """Where energy is handed over."""

    model_config = ConfigDict(extra="forbid")

    point_no: PointNo = Field(examples=["SP0001"])
    name_zh: Name = Field(examples=["一号变电所"])
    name_en: Name = Field(examples=["Substation 1"])
    address: Name = Field(examples=["上海市浦东新区钢铁路 1 号"])
    feeder: Word = Field(examples=["10kV-F17"])
    voltage_v: int = Field(ge=220, le=1_200_000, examples=[10_000])


class SupplyPointShown(SupplyPointShape):
    id: UUID

    @classmethod
    def of(cls, point: SupplyPoint) -> "SupplyPointShown":
        return cls.model_construct(**{name: getattr(point, name) for name in cls.model_fields})


_EITHER_OF_TWO: list[JsonValue] = [
    {
        "required": [given],
        "properties": {given: {"type": "integer"}, other: {"type": "null"}},
    }
    for given, other in (("energy_wh", "supply_hours"), ("supply_hours", "energy_wh"))
]


class ThresholdShape(BaseModel):
    """A level of the remaining energy: in Wh, or in hours of supply at the recent load; one of the two."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"supply_hours": 120}], "oneOf": _EITHER_OF_TWO}
    )

    energy_wh: EnergyWh | None = None
    supply_hours: SupplyHours | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if (self.energy_wh is None) == (self.supply_hours is None):
            raise ValueError("give either energy_wh or supply_hours, not both and not none")
        return self

    def as_threshold(self) -> Threshold:
        return Threshold(energy_wh=self.energy_wh, supply_hours=self.supply_hours)

    @classmethod
    def of(cls, threshold: Threshold) -> Self:
        return cls(energy_wh=threshold.energy_wh, supply_hours=threshold.supply_hours)


class ContractTerms(BaseModel):
    """What was agreed: capacity, limit, thresholds, notice periods, who cuts, and who must not be cut."""

    model_config = ConfigDict(extra="forbid")

    contract_no: ContractNo = Field(examples=["HT-2026-0001"])
    customer_no: CustomerNo = Field(examples=["C0001"])
    capacity_kva: int = Field(ge=1, le=_LARGEST_CAPACITY_KVA, examples=[1000])
    limit_w: int = Field(
        ge=1,
        le=_LARGEST_CAPACITY_KVA * 1000,
        description="power in W to which the stage `limited` limits; at most the capacity, 1 kVA taken as 1 kW",
        examples=[300_000],
    )
    control_mode: ControlMode = Field(examples=["remote"])
    important_user: ImportantUser = ImportantUser.NONE
    protected: bool = Field(default=False, description="never limited and never tripped")
    notice: ThresholdShape
    warning: ThresholdShape
    limited: ThresholdShape
    trip_wh: EnergyWh = Field(default=0, description="at or below it supply is cut", examples=[0])
    overdraft_wh: EnergyWh = Field(default=0, description="how far below `trip_wh` supply goes on, as agreed")
    emergency_limit_wh: EnergyWh = Field(default=0, description="how much may be lent at most to who asks for it")
    debt_share_percent: int = Field(
        default=100, ge=1, le=100, description="share of each purchase that pays off old debt; 100: old debt first"
    )
    written_notice_s: NoticeSeconds = Field(default=3 * 24 * 3600, description="from written notice to trip")
    second_notice_s: NoticeSeconds = Field(default=1800, description="from second notice to trip")


class ContractToSign(ContractTerms):
    """A contract on a new supply point, whose terminal's counter stands at ``opening_supplied_wh``."""

    supply_point: SupplyPointShape
    opening_supplied_wh: EnergyWh = 0

    def to_sign(self) -> NewContract:
        return NewContract(
            contract_no=self.contract_no,
            customer_no=self.customer_no,
            supply_point=NewSupplyPoint(**self.supply_point.model_dump()),
            capacity_kva=self.capacity_kva,
            limit_w=self.limit_w,
            control_mode=self.control_mode,
            thresholds=Thresholds(
                notice=self.notice.as_threshold(),
                warning=self.warning.as_threshold(),
                limited=self.limited.as_threshold(),
                trip=Threshold(energy_wh=self.trip_wh),
            ),
            notice_periods=NoticePeriods(written_s=self.written_notice_s, second_s=self.second_notice_s),
            important_user=self.important_user,
            protected=self.protected,
            overdraft_wh=self.overdraft_wh,
            emergency_limit_wh=self.emergency_limit_wh,
            debt_share_percent=self.debt_share_percent,
        )


class ContractShown(ContractTerms):
    id: UUID
    supply_point: SupplyPointShown
    signed_at: datetime
    closing_since: datetime | None = Field(description="set while the closing of its account is under way")
    closed_at: datetime | None

    @classmethod
    def of(cls, found: ContractAtPoint) -> "ContractShown":
        contract = found.contract
        return cls.model_construct(
            id=contract.id,
            contract_no=contract.contract_no,
            customer_no=found.customer_no,
            supply_point=SupplyPointShown.of(found.supply_point),
            capacity_kva=contract.capacity_kva,
            limit_w=contract.limit_w,
            control_mode=ControlMode(contract.control_mode),
            important_user=ImportantUser(contract.important_user),
            protected=contract.protected,
            notice=ThresholdShape.of(contract.thresholds.notice),
            warning=ThresholdShape.of(contract.thresholds.warning),
            limited=ThresholdShape.of(contract.thresholds.limited),
            trip_wh=contract.trip_wh,
            overdraft_wh=contract.overdraft_wh,
            emergency_limit_wh=contract.emergency_limit_wh,
            debt_share_percent=contract.debt_share_percent,
            written_notice_s=contract.written_notice_s,
            second_notice_s=contract.second_notice_s,
            signed_at=contract.signed_at,
            closing_since=contract.closing_since,
            closed_at=contract.closed_at,
        )


class CustomerWholeShown(CustomerShown):
    """A customer with its contacts, its supply points and the contracts that are open on these."""

    contacts: list[ContactShape]
    supply_points: list[SupplyPointShown]
    open_contracts: list[ContractShown]

    @classmethod
    def whole(cls, found: CustomerWhole) -> Self:
        return cls(
            **CustomerShown.of(found.customer).model_dump(),
            contacts=[ContactShape.of(contact) for contact in found.contacts],
            supply_points=[SupplyPointShown.of(point) for point in found.supply_points],
            open_contracts=[ContractShown.of(row) for row in found.open_contracts],
        )


class PriceToSet(BaseModel):
    """A price in force from ``valid_from`` until the next one begins, or until its own end."""

    model_config = ConfigDict(extra="forbid")

    yuan_per_kwh: PriceText
    valid_from: Moment = Field(examples=["2026-03-01T00:00:00Z"])
    valid_until: Moment | None = Field(default=None, examples=["2027-03-01T00:00:00Z"])

    def to_set(self) -> NewPrice:
        return NewPrice(
            yuan_per_kwh=Decimal(self.yuan_per_kwh), valid_from=self.valid_from, valid_until=self.valid_until
        )


class PriceShown(BaseModel):
    id: UUID
    yuan_per_kwh: Price
    valid_from: datetime
    valid_until: datetime | None
    set_by: UUID | None

    @classmethod
    def of(cls, price: PurchasePrice) -> Self:
        return cls.model_validate(price, from_attributes=True)
