"""The table of imports: which file was taken over, when, and by whom."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, one_of
from app.imports.facts import Kind


class ImportedFile(Base):
    """One file, taken over once. It is written in the transaction of its lines, so it is there only if they are."""

    __tablename__ = "imports"

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(String(20))
    file_name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int]
    imported_by: Mapped[UUID] = mapped_column(ForeignKey("staff_members.id"))
    imported_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("kind", "sha256"), CheckConstraint(one_of("kind", Kind), name="kind"))
