"""Reads for decisions: all facts of many supply points in one picture; and the decisions made before."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, and_, exists, select, text
from sqlalchemy.orm import Session

from app.allowances.models import Allowance
from app.brake.queries import BRAKED
from app.calendars.queries import NO_CUT, as_no_cut
from app.commands.rules import OPEN
from app.customers.models import Customer, SupplyContract, SupplyPoint
from app.customers.queries import NoSuchSupplyPoint
from app.customers.rules import ControlMode, NoticePeriods, Threshold, Thresholds
from app.load_control.facts import Facts, NoticeGiven, Round, Stage
from app.load_control.models import ControlState, StageDecisionRecord
from app.notices.rules import NoticeKind
from app.policies.queries import POLICY
from app.policies.rules import Policy, periods_that_hold
from app.terminals.models import Terminal, TerminalLive

# Orders carry the whole truth, so a later one proves an earlier one. One that the terminal was never given here
# proves nothing (it served elsewhere, or its memory is bad), nor does one while it holds more than that order said.
SHOWN_ORDER = """
    (SELECT coalesce(max((given.args->>'order_no')::bigint), 0) FROM commands AS given
      WHERE given.terminal_id = terminal.id AND given.slot = 'credit'
        AND (given.args->>'order_no')::bigint = (live.state->>'order_no')::bigint
        AND (given.args->>'paid_until_wh')::bigint >= (live.state->>'paid_until_wh')::bigint)
"""

# What was paid out after its proof needs none again: after a restore from yesterday's backup terminals show orders
# that the books have never heard of. Nor does what was over when the present terminal came: its first order said it.
LOWERING = f"""
    (EXISTS (SELECT FROM refunds AS refund
              WHERE refund.supply_point_id = terminal.supply_point_id AND refund.state <> 'withdrawn'
                AND (refund.state = 'taking_back' OR refund.order_no > coalesce(
                         (SELECT exchange.order_no FROM terminal_exchanges AS exchange
                           WHERE exchange.new_terminal_id = terminal.id), 0))
                AND refund.order_no > CASE WHEN refund.state = 'paid_out' AND refund.released_by IS NULL
                                           THEN coalesce((live.state->>'order_no')::bigint, 0) ELSE {SHOWN_ORDER} END)
     OR EXISTS (SELECT FROM closings AS closing
                 WHERE closing.supply_point_id = terminal.supply_point_id AND closing.state = 'closing'
                   AND closing.order_no > {SHOWN_ORDER}))
"""  # noqa: S608 - put together from texts of our own

TAKING_BACK = f"""
    ({LOWERING}
     OR EXISTS (SELECT FROM terminal_exchanges AS exchange
                 WHERE exchange.supply_point_id = terminal.supply_point_id
                   AND exchange.order_no > {SHOWN_ORDER}))
"""

# One read over several features' tables: a decision needs one consistent picture, and a sale has time for one
# round trip. Writes still go through each feature's service.
_FACTS = text(f"""
    SELECT point.id AS supply_point_id, terminal.id AS terminal_id, terminal.safe_load_w, terminal.last_order_no,
           contract.control_mode, contract.protected, contract.limit_w AS contract_limit_w,
           contract.notice_wh, contract.notice_hours, contract.warning_wh, contract.warning_hours,
           contract.limited_wh, contract.limited_hours, contract.trip_wh, contract.overdraft_wh,
           contract.written_notice_s, contract.second_notice_s,
           allowance.paid_until_wh,
           live.supplied_wh, live.supplied_at, live.clock, live.recent_load_w, live.active_power_w,
           live.online AND live.commandable AS reachable, live.state,
           {TAKING_BACK} AS taking_back, {LOWERING} AS lowering,
           (live.state->>'order_no')::bigint > 0 AND NOT EXISTS (
               SELECT FROM commands AS given WHERE given.terminal_id = terminal.id AND given.slot = 'credit'
                  AND (given.args->>'order_no')::bigint = (live.state->>'order_no')::bigint) AS order_unknown,
           (SELECT coalesce(sum(refund.energy_wh), 0)::bigint FROM refunds AS refund
             WHERE refund.supply_point_id = point.id AND refund.state = 'taking_back'
               AND refund.released_by IS NULL AND refund.order_no > {SHOWN_ORDER}) AS refunding_wh,
           {BRAKED} AS braked, {NO_CUT} AS no_cut, {POLICY} AS policy,
           contract.closing_since IS NOT NULL AS closing,
           control.stage, control.paid_until_wh AS stage_paid_until_wh,
           (SELECT jsonb_agg(jsonb_build_object(
                       'round', fitted.round, 'importance', fitted.importance, 'load_w', fitted.load_w,
                       'op', latest.op, 'state', latest.state, 'ended_at', latest.ended_at,
                       'trip_by_service', trip.requested_by IS NULL AND trip.id IS NOT NULL)
                       ORDER BY fitted.round)
              FROM terminal_rounds AS fitted
              LEFT JOIN LATERAL (
                   SELECT * FROM commands WHERE terminal_id = terminal.id AND slot = 'round-' || fitted.round
                    ORDER BY version DESC LIMIT 1) AS latest ON true
              LEFT JOIN LATERAL (
                   SELECT * FROM commands WHERE terminal_id = terminal.id AND slot = 'round-' || fitted.round
                      AND op = 'trip' AND (executed_at IS NOT NULL OR operate_sent_at IS NOT NULL
                                           OR state IN ('operating', 'delaying', 'unknown'))
                    ORDER BY version DESC LIMIT 1) AS trip ON true
             WHERE fitted.terminal_id = terminal.id) AS rounds,
           (SELECT jsonb_build_object('state', state, 'ended_at', ended_at)
              FROM commands WHERE terminal_id = terminal.id AND slot = 'limit'
             ORDER BY version DESC LIMIT 1) AS latest_limit,
           (SELECT requested_by IS NULL
              FROM commands WHERE terminal_id = terminal.id AND slot = 'limit'
               AND (executed_at IS NOT NULL OR operate_sent_at IS NOT NULL)
             ORDER BY version DESC LIMIT 1) AS limit_by_service,
           (SELECT (args->>'on')::boolean AND ended_at IS NULL
              FROM commands WHERE terminal_id = terminal.id AND slot = 'guarantee'
             ORDER BY version DESC LIMIT 1) AS guarantee_ordered,
           (SELECT jsonb_build_object('state', state, 'ended_at', ended_at)
              FROM commands WHERE terminal_id = terminal.id AND slot = 'credit'
             ORDER BY version DESC LIMIT 1) AS latest_credit,
           (SELECT max(executed_at) FROM commands WHERE supply_point_id = point.id AND op = 'trip') AS last_trip_at,
           (SELECT jsonb_object_agg(
                       kind, jsonb_build_object('cut_not_before', cut_not_before, 'served_at', served_at))
              FROM (SELECT DISTINCT ON (kind) kind, cut_not_before, served_at FROM notices
                     WHERE supply_point_id = point.id AND kind IN ('written', 'second') AND withdrawn_at IS NULL
                     ORDER BY kind, issued_at DESC) AS standing) AS notices
      FROM supply_points AS point
      JOIN customers AS customer ON customer.id = point.customer_id
      JOIN supply_contracts AS contract ON contract.supply_point_id = point.id AND contract.closed_at IS NULL
      JOIN allowances AS allowance ON allowance.supply_point_id = point.id
      JOIN terminals AS terminal ON terminal.supply_point_id = point.id AND terminal.retired_at IS NULL
      JOIN terminal_live AS live ON live.terminal_id = terminal.id
      JOIN control_states AS control ON control.supply_point_id = point.id
     WHERE point.id = ANY(:ids)
     ORDER BY point.id
""")  # noqa: S608 - put together from texts of our own

_UNPROVED = OPEN | {"executed", "unknown"}
_CAME_TO_NOTHING = frozenset({"refused", "expired", "failed", "cancelled"})


class Picture(NamedTuple):
    """The facts of one supply point and the terminal that stands there."""

    supply_point_id: UUID
    terminal_id: str
    facts: Facts


class StateBefore(NamedTuple):
    """The stage of a supply point by the last decision, with its reasons as they are stored."""

    stage: str
    because: list[dict[str, Any]]
    held: list[dict[str, Any]]


class Site(NamedTuple):
    """A supply point as people look at it: whose it is, what it holds, its stage, what its terminal told."""

    supply_point: SupplyPoint
    customer: Customer
    allowance: Allowance
    control: ControlState
    contract: SupplyContract | None
    terminal: Terminal | None
    live: TerminalLive | None

    @property
    def supplied_wh(self) -> int:
        """The terminal's counter; before its first report, the reading up to which supply was booked."""
        told_wh = self.live.supplied_wh if self.live else None
        return self.allowance.posted_supplied_wh if told_wh is None else told_wh

    @property
    def remaining_wh(self) -> int:
        return self.allowance.paid_until_wh - self.supplied_wh

    @property
    def credit_undelivered(self) -> bool:
        """Whether the terminal is known to hold less than was paid for."""
        told = (self.live.state or {}) if self.live else {}
        return bool(told.get("paid_until_wh", self.allowance.paid_until_wh) < self.allowance.paid_until_wh)


def pictures(
    session: Session,
    supply_point_ids: Iterable[UUID],
    *,
    report_valid_for: timedelta,
    retry_after: timedelta,
    now: datetime,
) -> list[Picture]:
    """Gather the facts of supply points that have an open contract and a terminal, in id order.

    What has a time of its own is left to the rules; only the trip policy is the one in force at ``now``.
    """
    rows = session.execute(_FACTS, {"ids": list(supply_point_ids), "now": now}).mappings()
    return [
        Picture(
            row["supply_point_id"],
            row["terminal_id"],
            _facts(dict(row), report_valid_for=report_valid_for, retry_after=retry_after),
        )
        for row in rows
    ]


def _facts(row: dict[str, Any], *, report_valid_for: timedelta, retry_after: timedelta) -> Facts:
    state = row["state"] or {}
    limit = row["latest_limit"] or {}
    credit = row["latest_credit"] or {}
    notices = row["notices"] or {}
    agreed = NoticePeriods(written_s=row["written_notice_s"], second_s=row["second_notice_s"])
    policy = Policy(**row["policy"]) if row["policy"] else None
    return Facts(
        paid_until_wh=row["paid_until_wh"],
        supplied_wh=row["supplied_wh"],
        supplied_at=row["supplied_at"],
        started=row["last_order_no"] > 0,
        estimated=row["clock"] == "unset",
        recent_load_w=row["recent_load_w"],
        active_power_w=row["active_power_w"],
        thresholds=Thresholds(
            notice=Threshold(energy_wh=row["notice_wh"], supply_hours=row["notice_hours"]),
            warning=Threshold(energy_wh=row["warning_wh"], supply_hours=row["warning_hours"]),
            limited=Threshold(energy_wh=row["limited_wh"], supply_hours=row["limited_hours"]),
            trip=Threshold(energy_wh=row["trip_wh"] - row["overdraft_wh"]),
        ),
        notice_periods=periods_that_hold(agreed, policy),
        policy=policy,
        control_mode=ControlMode(row["control_mode"]),
        protected=row["protected"],
        guaranteed=state.get("guarantee", "off") != "off" or bool(row["guarantee_ordered"]),
        reachable=row["reachable"],
        credit_undelivered=state.get("paid_until_wh", row["paid_until_wh"]) < row["paid_until_wh"],
        taking_back=row["taking_back"],
        lowering=row["lowering"],
        refunding_wh=row["refunding_wh"],
        braked=row["braked"],
        no_cut=tuple(as_no_cut(rule) for rule in row["no_cut"] or ()),
        order_unknown=bool(row["order_unknown"]),
        closing=row["closing"],
        credit_in_flight=credit.get("state") in _UNPROVED,
        credit_failed_at=_failed_at(credit),
        order_no=row["last_order_no"],
        terminal_paid_until_wh=state.get("paid_until_wh", row["paid_until_wh"]),
        report_valid_for=report_valid_for,
        retry_after=retry_after,
        contract_limit_w=row["contract_limit_w"],
        limit_w=state.get("limit_w"),
        limit_in_flight=limit.get("state") in _UNPROVED,
        limit_by_service=bool(row["limit_by_service"]),
        limit_failed_at=_failed_at(limit),
        safe_load_w=row["safe_load_w"],
        rounds=tuple(_round(fitted, state.get("rounds", "--------")) for fitted in row["rounds"] or ()),
        last_trip_at=row["last_trip_at"],
        written_notice=_notice(notices, NoticeKind.WRITTEN),
        second_notice=_notice(notices, NoticeKind.SECOND),
        stage=Stage[row["stage"].upper()],
        stage_paid_until_wh=row["stage_paid_until_wh"],
    )


def _round(fitted: dict[str, Any], relays: str) -> Round:
    unproved = fitted["state"] in _UNPROVED
    return Round(
        round=fitted["round"],
        importance=fitted["importance"],
        load_w=fitted["load_w"],
        relay=relays[fitted["round"] - 1],
        trip_in_flight=unproved and fitted["op"] == "trip",
        close_in_flight=unproved and fitted["op"] == "close",
        tripped_by_service=fitted["trip_by_service"],
        trip_failed_at=_failed_at(fitted) if fitted["op"] == "trip" else None,
        close_failed_at=_failed_at(fitted) if fitted["op"] == "close" else None,
    )


def _failed_at(command: dict[str, Any]) -> datetime | None:
    """Return when a command came to nothing, or None if it did not."""
    failed = command.get("state") in _CAME_TO_NOTHING and command.get("ended_at")
    return datetime.fromisoformat(command["ended_at"]) if failed else None


def _notice(notices: dict[str, Any], kind: NoticeKind) -> NoticeGiven | None:
    given = notices.get(kind)
    if given is None:
        return None
    return NoticeGiven(
        kind=kind,
        cut_not_before=datetime.fromisoformat(given["cut_not_before"]),
        served_at=datetime.fromisoformat(given["served_at"]) if given["served_at"] else None,
    )


def site(session: Session, supply_point_id: UUID) -> Site:
    """Return everything that is shown of one supply point.

    Raises:
        NoSuchSupplyPoint: no supply point has the id.
    """
    row = session.execute(_sites().where(SupplyPoint.id == supply_point_id)).first()
    if row is None:
        raise NoSuchSupplyPoint(supply_point_id=supply_point_id)
    return Site(*row)


def list_sites(session: Session, *, limit: int, after: str | None) -> list[Site]:
    """Return up to ``limit`` supply points in the order of numbers, after the number ``after``."""
    wanted = _sites().order_by(SupplyPoint.point_no).limit(limit)
    if after is not None:
        wanted = wanted.where(SupplyPoint.point_no > after)
    return [Site(*row) for row in session.execute(wanted)]


def _sites() -> Select[SupplyPoint, Customer, Allowance, ControlState, SupplyContract, Terminal, TerminalLive]:
    return (
        select(SupplyPoint, Customer, Allowance, ControlState, SupplyContract, Terminal, TerminalLive)
        .join(Customer, Customer.id == SupplyPoint.customer_id)
        .join(Allowance, Allowance.supply_point_id == SupplyPoint.id)
        .join(ControlState, ControlState.supply_point_id == SupplyPoint.id)
        .outerjoin(
            SupplyContract,
            and_(SupplyContract.supply_point_id == SupplyPoint.id, SupplyContract.closed_at.is_(None)),
        )
        .outerjoin(Terminal, and_(Terminal.supply_point_id == SupplyPoint.id, Terminal.retired_at.is_(None)))
        .outerjoin(TerminalLive, TerminalLive.terminal_id == Terminal.id)
    )


def control_state(session: Session, supply_point_id: UUID) -> ControlState | None:
    return session.get(ControlState, supply_point_id)


def states_before(session: Session, supply_point_ids: Iterable[UUID]) -> dict[UUID, StateBefore]:
    """Return what was decided last about many supply points."""
    rows = session.execute(
        select(ControlState.supply_point_id, ControlState.stage, ControlState.because, ControlState.held).where(
            ControlState.supply_point_id.in_(list(supply_point_ids))
        )
    )
    return {row.supply_point_id: StateBefore(row.stage, row.because, row.held) for row in rows}


def decisions_of(session: Session, supply_point_id: UUID, *, limit: int) -> list[StageDecisionRecord]:
    """Return the latest decisions, newest first."""
    rows = session.scalars(
        select(StageDecisionRecord)
        .where(StageDecisionRecord.supply_point_id == supply_point_id)
        .order_by(StageDecisionRecord.decided_at.desc(), StageDecisionRecord.id.desc())
        .limit(limit)
    )
    return list(rows)


def crossed(session: Session, terminal_ids: Iterable[str]) -> list[UUID]:
    """Return the supply points of these terminals whose counter has reached the reading to look again at."""
    rows = session.execute(
        text("""
            SELECT control.supply_point_id FROM control_states AS control
              JOIN terminals AS terminal ON terminal.supply_point_id = control.supply_point_id
              JOIN terminal_live AS live ON live.terminal_id = terminal.id
             WHERE terminal.id = ANY(:ids) AND terminal.retired_at IS NULL
               AND live.supplied_wh >= control.look_again_at_wh
        """),
        {"ids": list(terminal_ids)},
    )
    return [row.supply_point_id for row in rows]


def due(session: Session, *, now: datetime, limit: int) -> list[UUID]:
    """Return the supply points whose time to look again has come, the longest waiting first.

    Without an open contract or a terminal in service nothing can be decided: such a point would be due for ever
    and keep others from their turn.
    """
    return list(
        session.scalars(
            select(ControlState.supply_point_id)
            .where(
                ControlState.look_again_at <= now,
                exists().where(
                    SupplyContract.supply_point_id == ControlState.supply_point_id,
                    SupplyContract.closed_at.is_(None),
                ),
                exists().where(
                    Terminal.supply_point_id == ControlState.supply_point_id, Terminal.retired_at.is_(None)
                ),
            )
            .order_by(ControlState.look_again_at)
            .limit(limit)
        )
    )
