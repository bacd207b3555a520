"""What a decision about a supply point rests on."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from app.calendars.rules import NoCut
from app.customers.rules import ControlMode, NoticePeriods, Thresholds
from app.notices.rules import NoticeKind
from app.policies.rules import Policy


class Stage(IntEnum):
    """How far control has gone; a higher one is harsher."""

    NORMAL = 0
    NOTICE = 1
    WARNING = 2
    LIMITED = 3
    TRIPPED = 4

    @property
    def word(self) -> str:
        return self.name.lower()


class Cut(StrEnum):
    """What is about to be taken away, for the check at the last moment."""

    LIMIT = "limit"
    TRIP = "trip"
    CONTROL = "control"
    GUARANTEE_OFF = "guarantee_off"


@dataclass(frozen=True, kw_only=True)
class Round:
    """A trip relay as it stands: ``relay`` is ``1`` closed, ``0`` tripped."""

    round: int
    importance: int
    load_w: int
    relay: str
    trip_in_flight: bool = False
    close_in_flight: bool = False
    tripped_by_service: bool = False
    trip_failed_at: datetime | None = None
    close_failed_at: datetime | None = None

    @property
    def in_flight(self) -> bool:
        return self.trip_in_flight or self.close_in_flight


@dataclass(frozen=True, kw_only=True)
class NoticeGiven:
    """A notice that stands: no cut before its time, nor before its period has run from its arrival."""

    kind: NoticeKind
    cut_not_before: datetime
    served_at: datetime | None

    def cut_from(self, *, period_s: int) -> datetime | None:
        """Return when a cut may come, or None while there is no proof that the notice arrived.

        Announced for 12:00 with a period of 30 min, arrived at 11:45: not before 12:15.
        """
        if self.served_at is None:
            return None
        return max(self.cut_not_before, self.served_at + timedelta(seconds=period_s))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything the decision rests on. Energy in Wh, power in W, moments aware UTC."""

    paid_until_wh: int
    supplied_wh: int | None
    supplied_at: datetime | None
    started: bool = True
    estimated: bool = False
    recent_load_w: int = 0
    active_power_w: int | None = None
    thresholds: Thresholds
    #: The longer of what the contract and the policy in force ask for.
    notice_periods: NoticePeriods = field(default_factory=NoticePeriods)
    #: The version in force here; without one the service cuts nothing by itself.
    policy: Policy | None = None
    control_mode: ControlMode = ControlMode.REMOTE
    protected: bool = False
    guaranteed: bool = False
    reachable: bool = True
    credit_undelivered: bool = False
    #: A refund or a closing took energy back in the books, or the terminal is new in another's place, and it has not
    #: shown yet that it took over what the books say: it may hold more, so only an absolute value fits.
    taking_back: bool = False
    #: Of these only a refund or a closing, which people asked for and can withdraw.
    lowering: bool = False
    #: Energy that refunds took back in the books, neither proved at the terminal nor released: its money is with us.
    refunding_wh: int = 0
    #: What bars trips at certain times at this point's office.
    no_cut: tuple[NoCut, ...] = ()
    #: Where the brake on cuts is on for this point, such as ``feeder 10 kV 1``; None where it is off.
    braked: str | None = None
    #: The terminal shows an order that it was never given here.
    order_unknown: bool = False
    #: The account is being closed: nothing is cut, and the terminal watches no level any more.
    closing: bool = False
    credit_in_flight: bool = False
    credit_failed_at: datetime | None = None
    order_no: int = 0
    terminal_paid_until_wh: int = 0
    report_valid_for: timedelta = timedelta(minutes=35)
    retry_after: timedelta = timedelta(seconds=30)
    contract_limit_w: int = 0
    limit_w: int | None = None
    limit_in_flight: bool = False
    limit_by_service: bool = False
    limit_failed_at: datetime | None = None
    safe_load_w: int = 0
    rounds: tuple[Round, ...] = ()
    last_trip_at: datetime | None = None
    written_notice: NoticeGiven | None = None
    second_notice: NoticeGiven | None = None
    stage: Stage = Stage.NORMAL
    stage_paid_until_wh: int = 0

    @property
    def remaining_wh(self) -> int:
        return self.paid_until_wh - (self.supplied_wh or 0)
