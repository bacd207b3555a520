"""Tables of customers, their contacts, supply points, supply contracts and purchase prices."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.customers.rules import ControlMode, ImportantUser, Industry, NoticePeriods, Threshold, Thresholds
from app.database import Base, Id, Wh, one_of


class Customer(Base):
    __tablename__ = "customers"

    id: Mapped[Id]
    customer_no: Mapped[str] = mapped_column(String(20), unique=True)
    office_id: Mapped[UUID] = mapped_column(ForeignKey("offices.id"))
    name_zh: Mapped[str] = mapped_column(String(200))
    name_en: Mapped[str] = mapped_column(String(200))
    industry: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime]

    __table_args__ = (CheckConstraint(one_of("industry", Industry), name="industry"),)


class Contact(Base):
    """A person at the customer who is told things."""

    __tablename__ = "contacts"

    id: Mapped[Id]
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customers.id"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    duty: Mapped[str] = mapped_column(String(100))
    phone: Mapped[str] = mapped_column(String(40))
    email: Mapped[str | None] = mapped_column(String(200))
    language: Mapped[str] = mapped_column(String(2), default="zh")

    __table_args__ = (CheckConstraint("language IN ('zh', 'en')", name="language"),)


class SupplyPoint(Base):
    """Where energy is handed over. Its row is the lock of the supply account: every change takes it first."""

    __tablename__ = "supply_points"

    id: Mapped[Id]
    point_no: Mapped[str] = mapped_column(String(20), unique=True)
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customers.id"), index=True)
    name_zh: Mapped[str] = mapped_column(String(200))
    name_en: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(Text)
    feeder: Mapped[str] = mapped_column(String(60))
    voltage_v: Mapped[int]


class SupplyContract(Base):
    """The agreement on one supply point: capacity, thresholds, who cuts, and who must not be cut."""

    __tablename__ = "supply_contracts"

    id: Mapped[Id]
    contract_no: Mapped[str] = mapped_column(String(30), unique=True)
    supply_point_id: Mapped[UUID] = mapped_column(ForeignKey("supply_points.id"))
    capacity_kva: Mapped[int]
    control_mode: Mapped[str] = mapped_column(String(10))
    important_user: Mapped[str] = mapped_column(String(10), default=ImportantUser.NONE)
    protected: Mapped[bool] = mapped_column(default=False)
    limit_w: Mapped[int] = mapped_column(BigInteger)
    notice_wh: Mapped[Wh | None]
    notice_hours: Mapped[int | None]
    warning_wh: Mapped[Wh | None]
    warning_hours: Mapped[int | None]
    limited_wh: Mapped[Wh | None]
    limited_hours: Mapped[int | None]
    trip_wh: Mapped[Wh] = mapped_column(default=0)
    #: How far below the trip threshold supply goes on, as agreed.
    overdraft_wh: Mapped[Wh] = mapped_column(default=0)
    #: How much energy may be lent at most to who asks for it.
    emergency_limit_wh: Mapped[Wh] = mapped_column(default=0)
    #: Share of each purchase that pays off old debt; 100: old debt first.
    debt_share_percent: Mapped[int] = mapped_column(default=100)
    written_notice_s: Mapped[int]
    second_notice_s: Mapped[int]
    signed_at: Mapped[datetime]
    #: Set while a closing of its account is under way: nothing is sold or lent, and nothing is cut.
    closing_since: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("control_mode", ControlMode), name="control_mode"),
        CheckConstraint(one_of("important_user", ImportantUser), name="important_user"),
        CheckConstraint("capacity_kva > 0 AND limit_w > 0", name="positive"),
        CheckConstraint("num_nonnulls(notice_wh, notice_hours) = 1", name="one_notice"),
        CheckConstraint("num_nonnulls(warning_wh, warning_hours) = 1", name="one_warning"),
        CheckConstraint("num_nonnulls(limited_wh, limited_hours) = 1", name="one_limited"),
        CheckConstraint("overdraft_wh >= 0 AND emergency_limit_wh >= 0", name="credit_limits"),
        CheckConstraint("debt_share_percent BETWEEN 1 AND 100", name="debt_share"),
        CheckConstraint("written_notice_s >= 0 AND second_notice_s >= 0", name="notice_periods"),
        CheckConstraint("num_nonnulls(closing_since, closed_at) < 2", name="closing_or_closed"),
        Index(
            "uq_supply_contracts_open",
            "supply_point_id",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
    )

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(
            notice=Threshold(energy_wh=self.notice_wh, supply_hours=self.notice_hours),
            warning=Threshold(energy_wh=self.warning_wh, supply_hours=self.warning_hours),
            limited=Threshold(energy_wh=self.limited_wh, supply_hours=self.limited_hours),
            trip=Threshold(energy_wh=self.trip_wh - self.overdraft_wh),
        )

    @property
    def notice_periods(self) -> NoticePeriods:
        return NoticePeriods(written_s=self.written_notice_s, second_s=self.second_notice_s)


class PurchasePrice(Base):
    """A price in force from ``valid_from`` until the next one begins or its own end, so none can overlap."""

    __tablename__ = "purchase_prices"

    id: Mapped[Id]
    contract_id: Mapped[UUID] = mapped_column(ForeignKey("supply_contracts.id"))
    yuan_per_kwh: Mapped[Decimal] = mapped_column(Numeric(18, 8))
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime | None]
    set_by: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))

    __table_args__ = (
        UniqueConstraint("contract_id", "valid_from"),
        CheckConstraint("yuan_per_kwh > 0", name="positive"),
        CheckConstraint("valid_until IS NULL OR valid_until > valid_from", name="validity"),
    )
