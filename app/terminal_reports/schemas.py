"""Reports, events and quarantined messages as the API shows them."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from app.terminal_reports.models import QuarantinedMessage, TerminalEvent, TerminalReport

_METER = {
    "meter_no": "M0001",
    "active_import_wh": {"sharp": 0, "peak": 400_000, "flat": 300_000, "valley": 300_000, "total": 1_000_000},
    "reactive_import_varh": 0,
    "reactive_export_varh": 0,
    "max_demand_w": 520_000,
    "max_demand_at": "2026-03-02T02:15:00.000Z",
}


class ReportShown(BaseModel):
    """What a terminal told at a moment: its counter, the power, the meters, and its state."""

    terminal_id: str = Field(examples=["SH-PD-0001"])
    spool_id: UUID
    seq: int = Field(description="number in the terminal's spool, without gaps", examples=[42])
    at: datetime = Field(description="by the terminal's clock")
    received_at: datetime
    backfilled: bool = Field(description="told late; it said nothing about the present")
    clock: str | None = Field(examples=["synced"])
    supplied_wh: int = Field(examples=[1_000_000])
    active_power_w: int = Field(examples=[480_000])
    meters: list[dict[str, Any]] = Field(examples=[[_METER]])
    state: dict[str, Any] = Field(examples=[{"rounds": "11------", "paid_until_wh": 62_500_000}])

    @classmethod
    def of(cls, report: TerminalReport) -> Self:
        return cls(
            terminal_id=report.terminal_id,
            spool_id=report.spool_id,
            seq=report.seq,
            at=report.at,
            received_at=report.received_at,
            backfilled=report.backfilled,
            clock=report.payload.get("clock"),
            supplied_wh=report.supplied_wh,
            active_power_w=report.active_power_w,
            meters=report.payload.get("meters", []),
            state=report.payload.get("state", {}),
        )


class EventShown(BaseModel):
    """Something that happened at a terminal."""

    terminal_id: str = Field(examples=["SH-PD-0001"])
    spool_id: UUID
    seq: int = Field(examples=[43])
    at: datetime = Field(description="by the terminal's clock")
    received_at: datetime
    type: str = Field(examples=["credit_applied"])
    detail: dict[str, Any] = Field(examples=[{"order_no": 1, "remaining_after_wh": 62_500_000}])

    @classmethod
    def of(cls, event: TerminalEvent) -> Self:
        return cls.model_validate(event, from_attributes=True)


class QuarantinedShown(BaseModel):
    """A message that could not be read, and why."""

    id: UUID
    topic: str = Field(examples=["lm/v1/SH-PD-0001/up/report"])
    reason: str = Field(examples=["supplied_wh: Input should be a valid integer"])
    payload: str = Field(
        description="as text; bytes that are no UTF-8 are written as \\xNN", examples=['{"seq": 1.5}']
    )
    received_at: datetime

    @classmethod
    def of(cls, message: QuarantinedMessage) -> Self:
        return cls(
            id=message.id,
            topic=message.topic,
            reason=message.reason,
            payload=message.payload.decode(errors="backslashreplace"),
            received_at=message.received_at,
        )
