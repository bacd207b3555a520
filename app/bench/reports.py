"""Measure: reports committed with receipts, a second, against a bare subscriber that counts the same messages."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.bench.figures import Figure
from app.bench.ground import Ground
from app.bench.programs import BenchFailed, Program
from app.clock import Clock
from app.database import new_id, transaction
from app.demo.people_and_places import DemoCustomer
from app.embedded.broker import SERVICE_USER
from app.embedded.ports import LOOPBACK
from app.mqtt import messages

_TERMINALS = 100
_REPORTS = 60_000
_WITHIN_S = 120.0
_BETWEEN = timedelta(milliseconds=10)
_POWER_W = 500_000

# The spools' rows are as old as their reports: one transaction writes both.
_STORED = "SELECT coalesce(sum(upper(stored) - 1), 0) FROM terminal_spools WHERE spool_id = ANY(:spools)"
_COMMITTED = "SELECT count(*) FROM terminal_reports WHERE spool_id = ANY(:spools)"


def measure(ground: Ground, *, short: bool, tell: Callable[[str], None]) -> dict[str, Figure]:
    """Send the same reports twice, from the same program: to the bare subscriber, then to the worker."""
    each = _REPORTS // _TERMINALS // (10 if short else 1)
    spools: list[UUID] = []
    terminals = [_terminal(ground, one, each, spools) for one in ground.customers[:_TERMINALS]]
    total = each * len(terminals)
    tell(f"{total:,} reports to a bare subscriber")
    bare_per_s, taken_per_s = _bare(ground, terminals, total=total)
    tell(f"{total:,} reports to the worker")
    committed_per_s = _committed(ground, terminals, spools, total=total)
    size_bytes = len(terminals[0]["reports"][-1])
    against = (
        f"{bare_per_s:,.0f} messages/s of a bare paho subscriber; {size_bytes} bytes each; "
        f"the broker took them at {taken_per_s:,.0f}/s"
    )
    return {
        "reports_per_s": Figure(
            value=committed_per_s, unit="reports/s", ratio=committed_per_s / bare_per_s, against=against
        )
    }


def _terminal(ground: Ground, customer: DemoCustomer, count: int, spools: list[UUID]) -> dict[str, Any]:
    spool_id = new_id()
    spools.append(spool_id)
    return {
        "terminal_id": customer.terminal_id,
        "password": ground.credential(customer),
        "reports": _reports(ground, customer, spool_id, count),
    }


def _reports(ground: Ground, customer: DemoCustomer, spool_id: UUID, count: int) -> list[str]:
    """Write reports of a terminal that goes on from what the service knows of it."""
    with transaction(ground.engine) as session:
        known = session.execute(
            text("""
                SELECT allowance.paid_until_wh, terminal.last_order_no, coalesce(live.supplied_wh, 0) AS supplied_wh
                  FROM terminals AS terminal JOIN allowances AS allowance USING (supply_point_id)
                  JOIN terminal_live AS live ON live.terminal_id = terminal.id WHERE terminal.id = :id
            """),
            {"id": customer.terminal_id},
        ).one()
    first_at = Clock().now() - count * _BETWEEN
    written = []
    for seq in range(1, count + 1):
        supplied_wh = known.supplied_wh + seq
        at = first_at + seq * _BETWEEN
        state = messages.State(
            paid_until_wh=known.paid_until_wh,
            remaining_wh=known.paid_until_wh - supplied_wh,
            order_no=known.last_order_no,
            alarm_wh=20_000_000,
            trip_wh=0,
            control_enabled=True,
            mode=messages.ControlMode.REMOTE,
            stage=messages.TerminalStage.NORMAL,
            rounds="111-----",
            guarantee=messages.Guarantee.OFF,
        )
        report = messages.Report(
            spool_id=spool_id,
            seq=seq,
            at=at,
            clock=messages.TerminalClock.SYNCED,
            uptime_s=86_400 + seq,
            supplied_wh=supplied_wh,
            active_power_w=_POWER_W + seq % 1000,
            meters=[_meter(customer, supplied_wh, at=at)],
            state=state,
        )
        written.append(messages.encode(report).decode())
    return written


def _meter(customer: DemoCustomer, supplied_wh: int, *, at: datetime) -> messages.MeterReading:
    quarter = supplied_wh // 4
    return messages.MeterReading(
        meter_no=f"DB{customer.number:08d}",
        active_import_wh=messages.RateRegisters(
            sharp=quarter, peak=quarter, flat=quarter, valley=supplied_wh - 3 * quarter, total=supplied_wh
        ),
        reactive_import_varh=supplied_wh // 3,
        reactive_export_varh=0,
        max_demand_w=612_000,
        max_demand_at=at,
    )


def _bare(ground: Ground, terminals: list[dict[str, Any]], *, total: int) -> tuple[float, float]:
    """Return the bare subscriber's messages a second, and how fast the broker took them from the terminals."""
    service = {
        **_broker(ground),
        "user": SERVICE_USER,
        "password": ground.broker.service_password,
        "messages": total,
        "within_s": _WITHIN_S,
    }
    with (
        Program("subscriber", service, folder=ground.folder) as subscriber,
        _reporting(ground, terminals, receipts=False) as reporting,
    ):
        subscriber.wait_ready(within_s=60)
        reporting.wait_ready(within_s=60)
        subscriber.begin()
        reporting.begin()
        seen = subscriber.result(within_s=_WITHIN_S + 30)
        sent = reporting.result(within_s=_WITHIN_S + 30)
    if seen["seen"] != total:
        raise BenchFailed(f"the bare subscriber saw {seen['seen']} of {total} messages")
    began_s = sent["began_s"]
    return total / (seen["ended_s"] - began_s), total / (sent["taken_s"] - began_s)


def _committed(ground: Ground, terminals: list[dict[str, Any]], spools: list[UUID], *, total: int) -> float:
    with ground.worker() as worker, _reporting(ground, terminals, receipts=True) as reporting:
        reporting.wait_ready(within_s=60)
        reporting.begin()
        stored_s = ground.wait_for(_STORED, total, worker, within_s=_WITHIN_S, spools=spools)
        told = reporting.result(within_s=_WITHIN_S + 30)
    committed = ground.scalar(_COMMITTED, spools=spools)
    if committed != total or told["without_receipt"]:
        silent = told["without_receipt"][:5]
        raise BenchFailed(f"{committed} of {total} reports are stored; without their last receipt: {silent}")
    return total / (stored_s - float(told["began_s"]))


def _reporting(ground: Ground, terminals: list[dict[str, Any]], *, receipts: bool) -> Program:
    task = {**_broker(ground), "terminals": terminals, "receipts": receipts, "within_s": _WITHIN_S}
    return Program("terminals", task, folder=ground.folder)


def _broker(ground: Ground) -> dict[str, Any]:
    return {"host": LOOPBACK, "port": ground.broker.port}
