"""Imports as the API shows them."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from app.imports.facts import Fault, Kind
from app.imports.queries import Import
from app.imports.service import Imported
from app.terminals.schemas import TerminalRegistered


class Said(BaseModel):
    zh: str
    en: str


class FaultShown(BaseModel):
    """One thing that is wrong in the file, and what would be right."""

    line: int = Field(examples=[17])
    column: str = Field(examples=["合同容量（kVA） capacity (kVA)"])
    value: str = Field(examples=["1,000"])
    code: str = Field(examples=["form"])
    wrong: Said
    right: Said

    @classmethod
    def of(cls, fault: Fault) -> dict[str, Any]:
        said = {"wrong": Said(**fault.wrong.__dict__), "right": Said(**fault.right.__dict__)}
        return cls(line=fault.line, column=fault.column, value=fault.value, code=fault.code, **said).model_dump()


class ImportChecked(BaseModel):
    """The file would be imported as it is; nothing was written."""

    kind: Kind
    rows: int = Field(description="lines below the headings", examples=[120])
    records: int = Field(description="customers, contracts, terminals or openings", examples=[100])

    @classmethod
    def of(cls, done: Imported) -> Self:
        return cls(kind=done.kind, rows=done.rows, records=done.records)


class ImportDone(ImportChecked):
    id: UUID

    @classmethod
    def of(cls, done: Imported) -> Self:
        return cls(id=done.id, kind=done.kind, rows=done.rows, records=done.records)


class TerminalsImported(ImportDone):
    """Credentials are shown here and never again: only their hashes are kept."""

    registered: list[TerminalRegistered]

    @classmethod
    def with_credentials(cls, done: Imported, registered: list[TerminalRegistered]) -> Self:
        return cls(id=done.id, kind=done.kind, rows=done.rows, records=done.records, registered=registered)


class ImportShown(BaseModel):
    id: UUID
    kind: Kind
    file_name: str = Field(examples=["contracts.xlsx"])
    sha256: str
    rows: int
    imported_by: str = Field(examples=["manager"])
    imported_at: datetime

    @classmethod
    def of(cls, found: Import) -> "ImportShown":
        file = found.file
        return cls(
            id=file.id,
            kind=Kind(file.kind),
            file_name=file.file_name,
            sha256=file.sha256,
            rows=file.rows,
            imported_by=found.imported_by,
            imported_at=file.imported_at,
        )
