"""Tables of the two books: accounts, transactions and entries that are only ever added."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, WholeNumber, one_of
from app.ledger.rules import AccountKind, Book


class LedgerAccount(Base):
    """An account of one book.

    A customer's account keeps its balance with it, guarded by a floor; an account of the utility itself, which
    every sale touches, keeps none and is summed when asked, so that sales do not queue for it.
    """

    __tablename__ = "ledger_accounts"

    id: Mapped[Id]
    book: Mapped[str] = mapped_column(String(10))
    kind: Mapped[str] = mapped_column(String(30))
    supply_point_id: Mapped[UUID | None] = mapped_column(ForeignKey("supply_points.id"))
    normal_side: Mapped[int] = mapped_column(SmallInteger)
    floor: Mapped[int | None] = mapped_column(WholeNumber())
    balance: Mapped[int | None] = mapped_column(WholeNumber())
    version: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        Index(
            "uq_ledger_accounts_kind",
            "supply_point_id",
            "kind",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        CheckConstraint(one_of("book", Book), name="book"),
        CheckConstraint(one_of("kind", AccountKind), name="kind"),
        CheckConstraint("normal_side IN (1, -1)", name="normal_side"),
        CheckConstraint("floor IS NULL OR balance >= floor", name="floor"),
        CheckConstraint("(supply_point_id IS NULL) = (balance IS NULL)", name="kept_balance"),
        CheckConstraint("(balance IS NULL) = (version IS NULL)", name="kept_version"),
        {"postgresql_with": {"fillfactor": "70"}},
    )


class LedgerTransaction(Base):
    """One thing that happened, under a business key that can happen once."""

    __tablename__ = "ledger_transactions"

    id: Mapped[Id]
    book: Mapped[str] = mapped_column(String(10))
    kind: Mapped[str] = mapped_column(String(30))
    business_key: Mapped[str] = mapped_column(String(120), unique=True)
    effective_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    actor_id: Mapped[UUID | None] = mapped_column(ForeignKey("staff_members.id"))
    reverses_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transactions.id"), unique=True)
    #: The shift at whose till money changed hands.
    shift_id: Mapped[UUID | None] = mapped_column(ForeignKey("shifts.id"), index=True)

    __table_args__ = (CheckConstraint(one_of("book", Book), name="book"),)


class LedgerEntry(Base):
    """One line: debit above zero, credit below; the lines of a transaction sum to zero."""

    __tablename__ = "ledger_entries"

    transaction_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transactions.id"), primary_key=True)
    line: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_accounts.id"))
    amount: Mapped[int] = mapped_column(WholeNumber())
    balance_after: Mapped[int | None] = mapped_column(WholeNumber())
    account_version: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        UniqueConstraint("account_id", "account_version"),
        CheckConstraint("amount <> 0", name="amount"),
        CheckConstraint("(balance_after IS NULL) = (account_version IS NULL)", name="kept_balance"),
    )
