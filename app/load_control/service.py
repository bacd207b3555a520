"""Brings supply points to the stage that is due: decides, records why, and issues what the decision asks for."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.allowances import service as allowances
from app.brake import service as brake
from app.brake.rules import WINDOW
from app.clock import Clock
from app.commands import service as commands
from app.commands.models import Command
from app.commands.rules import OPEN, CommandState, Op
from app.customers import queries as customer_queries
from app.customers import service as customers
from app.customers.models import SupplyContract
from app.customers.service import NewContract
from app.database import Step
from app.errors import Refused
from app.ledger import service as ledger
from app.load_control import books, checks, queries
from app.load_control.facts import Cut, Facts, Stage
from app.load_control.interlocks import power_at_stake, why_not_cut
from app.load_control.levels import threatened
from app.load_control.models import ControlState
from app.load_control.queries import Picture
from app.load_control.reasons import Reason
from app.load_control.rules import StageDecision, decide_stage, steps
from app.notices import service as notices
from app.notices.rules import CUT_NOTICES, NoticeKind, word
from app.settings import Settings
from app.terminals import service as terminals

# A cut or a notice of one in normal stage is a person's; asking for it here spares a sale two statements.
_STILL_NORMAL = text("""
    UPDATE control_states SET look_again_at = :now WHERE supply_point_id = :id AND stage = 'normal'
    RETURNING EXISTS (SELECT FROM commands WHERE supply_point_id = :id AND command_class = 'cut'
                         AND state = ANY(:open)) AS cut_ordered,
              EXISTS (SELECT FROM notices WHERE supply_point_id = :id AND kind IN ('written', 'second')
                         AND withdrawn_at IS NULL) AS cut_announced
""")
_PAID = "a purchase was booked"
_RETRY_S = 20
_GRACE_S = 10

#: What each operation would take away where it is a cut.
CUTS = {Op.LIMIT: Cut.LIMIT, Op.TRIP: Cut.TRIP, Op.CONTROL: Cut.CONTROL, Op.GUARANTEE: Cut.GUARANTEE_OFF}


class LookedAt(NamedTuple):
    """What stands against a point in normal stage all the same."""

    cut_ordered: bool
    cut_announced: bool


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The clock and how often terminals report, from which the age of a stale report follows."""

    clock: Clock
    report_interval_s: int

    @classmethod
    def of(cls, settings: Settings) -> "Pace":
        return cls(clock=settings.clock, report_interval_s=settings.report_interval_s)

    @property
    def report_valid_for(self) -> timedelta:
        """Two intervals and ten seconds of a machine's life: 30 min 10 s at the usual quarter of an hour."""
        return timedelta(seconds=2 * self.report_interval_s) + self.clock.lived(_GRACE_S)

    @property
    def retry_after(self) -> timedelta:
        return self.clock.lived(_RETRY_S)


def open_supply_point(
    session: Session, new: NewContract, *, opening_supplied_wh: int = 0, now: datetime
) -> SupplyContract:
    """Sign a contract on a new supply point and open all that it needs: accounts, allowance, control.

    Args:
        session: of the transaction.
        new: the contract and its supply point.
        opening_supplied_wh: reading of the terminal's counter at commissioning; nothing before it is sold.
        now: when it is signed.

    Raises:
        NoSuchCustomer, NumberTaken, LimitAboveCapacity: see :func:`app.customers.service.sign_contract`.
    """
    contract = customers.sign_contract(session, new, now=now)
    ledger.open_accounts(session, contract.supply_point_id)
    allowances.open_allowance(session, contract.supply_point_id, opening_supplied_wh=opening_supplied_wh)
    open_control(session, contract.supply_point_id, now=now)
    return contract


class SupplyStillCut(Refused):
    title = "Supply is still limited or cut"

    def __init__(self, *, contract_no: str, stage: str) -> None:
        super().__init__(
            f"The supply point of contract {contract_no} is {stage}; closed now, nobody could give supply back.",
            remedy="Guarantee supply or sell energy first, wait until it is verified, and close the contract then.",
            contract_no=contract_no,
            stage=stage,
        )


def close_supply_point(session: Session, contract_no: str, *, now: datetime) -> SupplyContract:
    """Close a contract and call back what was to be cut.

    Raises:
        NoSuchContract, ContractClosed: see :func:`app.customers.service.close_contract`.
        SupplyStillCut: the point is limited or tripped, and would stay so for ever.
    """
    point_id = customer_queries.contract_by_no(session, contract_no).supply_point_id
    customers.lock_supply_points(session, [point_id])
    control = queries.control_state(session, point_id)
    if control is not None and Stage[control.stage.upper()] >= Stage.LIMITED:
        raise SupplyStillCut(contract_no=contract_no, stage=control.stage)
    commands.call_back_cuts(session, point_id, because="the contract was closed", now=now)
    return customers.close_contract(session, contract_no, now=now)


def open_control(session: Session, supply_point_id: UUID, *, now: datetime) -> None:
    """Put a new supply point under control, in stage normal."""
    session.execute(
        insert(ControlState)
        .values(
            supply_point_id=supply_point_id,
            stage=Stage.NORMAL.word,
            since=now,
            paid_until_wh=0,
            because=[],
            held=[],
            look_again_at=now,
        )
        .on_conflict_do_nothing()
    )


def look_again(session: Session, supply_point_ids: Collection[UUID], now: datetime) -> None:
    """Have the sweep decide anew about these supply points at its next turn."""
    session.execute(
        text(
            "UPDATE control_states SET look_again_at = least(look_again_at, :now) WHERE supply_point_id = ANY(:ids)"
        ),
        {"ids": sorted(supply_point_ids), "now": now},
    )


def put_off(session: Session, supply_point_id: UUID, *, until: datetime) -> None:
    """Look at a supply point again at that moment only."""
    session.execute(
        text("UPDATE control_states SET look_again_at = :until WHERE supply_point_id = :id"),
        {"id": supply_point_id, "until": until},
    )


def reassess(
    session: Session, supply_point_ids: Collection[UUID], *, trigger: str, pace: Pace, now: datetime
) -> list[StageDecision]:
    """Decide anew for supply points, lock first, and do what the decisions ask for; returns them in id order."""
    if not supply_point_ids:
        return []
    customers.lock_supply_points(session, supply_point_ids)
    decided = []
    before = queries.states_before(session, supply_point_ids)
    records = books.Records(trigger=trigger, now=now)
    for picture in _pictures(session, supply_point_ids, pace, now=now):
        decision = decide_stage(picture.facts, now=now)
        decision_id = records.add(before[picture.supply_point_id], picture, decision)
        _act(session, picture, decision, decision_id=decision_id, pace=pace, now=now)
        decided.append(decision)
    records.write(session)
    return decided


def to_look_again(supply_point_id: UUID, *, now: datetime) -> Step[LookedAt | None]:
    """Return the step that lets a point in normal stage be looked at again; its answer is for `after_purchase`."""
    values = {"now": now, "id": supply_point_id, "open": sorted(OPEN)}
    return Step(statement=_STILL_NORMAL, values=values, read=lambda rows: LookedAt(*rows[0]) if rows else None)


def after_purchase(
    session: Session, supply_point_id: UUID, *, still_normal: LookedAt | None, pace: Pace, now: datetime
) -> None:
    """Give back what a purchase gives back, at once; a point in normal stage only looks again at its own pace.

    The caller holds the supply point's lock. More energy cannot take a point out of the normal stage, so the
    counter is full: the sweep moves the reading to look at. What a person ordered or announced there is taken back.
    """
    if still_normal is None or still_normal.cut_ordered:
        commands.call_back_cuts(session, supply_point_id, because=_PAID, now=now)
    if still_normal is None:
        reassess(session, [supply_point_id], trigger="purchase", pace=pace, now=now)
    elif still_normal.cut_announced:
        notices.withdraw(session, supply_point_id, because=_PAID, now=now)


def reasons_against(session: Session, command: Command, *, pace: Pace, now: datetime) -> tuple[Reason, ...]:
    """Check at the last moment, with the supply point locked, whether a cut may still be sent; empty means yes.

    The brake comes last: what anything else stands against is not counted.
    """
    customers.lock_supply_points(session, [command.supply_point_id])
    found = _pictures(session, [command.supply_point_id], pace, now=now)
    if not found:
        return (Reason("no_report_yet"),)
    facts, cut = found[0].facts, CUTS[Op(command.op)]
    against = why_not_cut(facts, cut=cut, automatic=command.requested_by is None, now=now)
    lacking = checks.why_not_approved(session, command) if command.requested_by is not None else None
    if lacking is not None:
        against = (Reason(lacking), *against)
    if against or cut not in (Cut.TRIP, Cut.LIMIT):
        return against
    asked = brake.CutAsked(
        command_id=command.id,
        supply_point_id=command.supply_point_id,
        operator_id=command.requested_by,
        power_w=power_at_stake(facts, cut=cut, args=command.args),
        last=command.state == CommandState.ARMED,
    )
    since = now - pace.clock.lived(WINDOW.total_seconds())
    where = brake.hold_or_let_through(session, asked, since=since, now=now)
    return () if where is None else (Reason("brake_on", where=where),)


def _pictures(session: Session, supply_point_ids: Collection[UUID], pace: Pace, *, now: datetime) -> list[Picture]:
    return queries.pictures(
        session, supply_point_ids, report_valid_for=pace.report_valid_for, retry_after=pace.retry_after, now=now
    )


def _act(
    session: Session,
    picture: Picture,
    decision: StageDecision,
    *,
    decision_id: UUID | None,
    pace: Pace,
    now: datetime,
) -> None:
    facts = picture.facts
    reason = " ".join(one.text("en") for one in decision.because)[:400]
    for step in steps(decision, facts, now=now):
        args, version = step.args, None
        if step.op == Op.CREDIT:
            # A fresh number: the terminal may have refused the old one for having seen it before.
            counted = terminals.next_order(session, picture.supply_point_id)
            args, version = {**args, "order_no": counted.order_no}, counted.version
        commands.issue(
            session,
            commands.NewCommand(
                terminal_id=picture.terminal_id,
                supply_point_id=picture.supply_point_id,
                op=Op(step.op),
                args=args,
                version=version,
                reason=reason,
                stage=decision.stage.word,
                decision_id=decision_id,
                limit_w=facts.limit_w,
            ),
            clock=pace.clock,
            now=now,
        )
    for kind, cut_not_before in _notices_of(facts, decision):
        _tell(session, picture, kind, cut_not_before=cut_not_before, reason=reason, pace=pace, now=now)
    softened_by_purchase = decision.stage is Stage.NORMAL and facts.stage > Stage.NORMAL
    if softened_by_purchase:
        notices.withdraw(session, picture.supply_point_id, because="the allowance is above its thresholds", now=now)
    elif facts.second_notice is not None and (_never(facts) or _averted(facts, decision)):
        # It spoke of a cut that does not come; the next one is announced anew, with its own time. What a person has
        # announced needs no threshold, so only what bars every cut averts it.
        notices.withdraw_second(
            session,
            picture.supply_point_id,
            also_by_hand=_never(facts),
            because="the cut was averted",
            now=now,
        )


def _never(facts: Facts) -> bool:
    return facts.protected or facts.guaranteed


def _averted(facts: Facts, decision: StageDecision) -> bool:
    return not threatened(facts) or decision.stage < facts.stage


def _on_its_way(facts: Facts) -> bool:
    """Whether a notice of a cut has been given and not proved to have arrived."""
    given = (facts.written_notice, facts.second_notice)
    return any(notice is not None and notice.served_at is None for notice in given)


def _notices_of(facts: Facts, decision: StageDecision) -> list[tuple[NoticeKind, datetime | None]]:
    told: list[tuple[NoticeKind, datetime | None]] = []
    if decision.notice_due is not None:
        told.append((decision.notice_due.kind, decision.notice_due.cut_not_before))
    if decision.stage > facts.stage:
        entered = {
            Stage.NOTICE: NoticeKind.REMINDER,
            Stage.WARNING: NoticeKind.WARNING,
            Stage.LIMITED: NoticeKind.LIMITED,
            Stage.TRIPPED: NoticeKind.TRIPPED,
        }.get(decision.stage)
        if entered is not None and decision.notice_due is None:
            told.append((entered, None))
    if decision.stage is Stage.NORMAL and facts.stage is Stage.TRIPPED:
        told.append((NoticeKind.RESTORED, None))
    return told


def _tell(
    session: Session,
    picture: Picture,
    kind: NoticeKind,
    *,
    cut_not_before: datetime | None,
    reason: str,
    pace: Pace,
    now: datetime,
) -> None:
    facts = picture.facts
    if kind not in CUT_NOTICES and _on_its_way(facts):
        # The terminal shows one text at a time, and the notice of a cut must arrive; what is lesser stays unsaid.
        return
    wording = word(
        kind, remaining_wh=facts.remaining_wh, cut_not_before=cut_not_before, limit_w=facts.contract_limit_w
    )
    command = commands.issue(
        session,
        commands.NewCommand(
            terminal_id=picture.terminal_id,
            supply_point_id=picture.supply_point_id,
            op=Op.WARN,
            args={"stage": kind.value, "text": {"zh": wording.zh, "en": wording.en}},
            reason=reason,
            stage=kind.value,
        ),
        clock=pace.clock,
        now=now,
    )
    notices.give(
        session,
        notices.NewNotice(
            supply_point_id=picture.supply_point_id,
            kind=kind,
            wording=wording,
            cut_not_before=cut_not_before,
            command_id=command.id,
        ),
        now=now,
    )
