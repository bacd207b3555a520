"""Supply points as the API shows them: what is left, which stage, why, and what was told."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from app.ledger.rules import AccountKind
from app.load_control.facts import Facts
from app.load_control.models import StageDecisionRecord
from app.load_control.queries import Site
from app.load_control.rules import forecast_trip_at
from app.notices.models import Notice
from app.notices.rules import NoticeKind
from app.quantities import fen_to_yuan
from app.site_codes.queries import CodeGiven
from app.site_codes.schemas import SiteCodeShown
from app.terminals.models import TerminalRound
from app.terminals.schemas import RoundShown

StageWord = Literal["normal", "notice", "warning", "limited", "tripped"]


class ReasonShown(BaseModel):
    """One reason of a decision: a stable code, the numbers behind it, and the sentence in two languages."""

    code: str = Field(examples=["at_or_below"])
    facts: dict[str, Any] = Field(examples=[{"stage": "warning", "remaining_wh": 20_000_000, "level_wh": 30_000_000}])
    zh: str = Field(examples=["剩余电量 20,000 千瓦时，已到告警门限 30,000 千瓦时。"])
    en: str = Field(examples=["20,000 kWh left, at or below the warning threshold of 30,000 kWh."])


class NoticeShown(BaseModel):
    """What the customer was told, and the proof that it arrived."""

    id: UUID
    kind: NoticeKind
    text_zh: str = Field(examples=["购电提醒：剩余电量 20,000 千瓦时，请及时购电。"])
    text_en: str = Field(examples=["Reminder: 20,000 kWh left. Please buy energy in time."])
    cut_not_before: datetime | None
    issued_at: datetime
    issued_by: UUID | None = Field(description="null: the service itself")
    command_id: UUID | None = Field(description="the terminal's warning that carries it")
    served_at: datetime | None = Field(description="null: there is no proof yet that it arrived")
    served_how: str | None = Field(examples=["shown and sounded by the terminal"])
    withdrawn_at: datetime | None
    withdrawn_because: str | None

    @classmethod
    def of(cls, notice: Notice) -> Self:
        return cls.model_validate(notice, from_attributes=True)


class SupplyPointListed(BaseModel):
    id: UUID
    point_no: str = Field(examples=["SP0001"])
    customer_no: str = Field(examples=["C0001"])
    customer_zh: str = Field(examples=["东方钢铁有限公司"])
    customer_en: str = Field(examples=["Oriental Steel Co., Ltd."])
    contract_no: str | None = Field(description="of the open contract", examples=["HT-2026-0001"])
    terminal_id: str | None = Field(examples=["SH-PD-0001"])
    feeder: str = Field(description="as the brake names it", examples=["浦12"])
    stage: StageWord
    remaining_wh: int = Field(description="paid and not yet supplied; below zero in overdraft", examples=[20_000_000])
    online: bool

    @classmethod
    def of(cls, site: Site) -> "SupplyPointListed":
        return cls.model_validate(_listed(site))


class BalancesShown(BaseModel):
    """The money book: what was paid in advance and is still owed to the customer, and what the customer owes."""

    deposit_fen: int = Field(examples=[5_000_000])
    deposit_yuan: str = Field(examples=["50000.00"])
    receivable_fen: int = Field(examples=[0])
    receivable_yuan: str = Field(examples=["0.00"])

    @classmethod
    def of(cls, balances: dict[AccountKind, int]) -> Self:
        deposit_fen = balances.get(AccountKind.DEPOSIT, 0)
        receivable_fen = balances.get(AccountKind.RECEIVABLE, 0)
        return cls(
            deposit_fen=deposit_fen,
            deposit_yuan=f"{fen_to_yuan(deposit_fen):f}",
            receivable_fen=receivable_fen,
            receivable_yuan=f"{fen_to_yuan(receivable_fen):f}",
        )


class SupplyPointShown(SupplyPointListed):
    """Everything that is known of a supply point now."""

    name_zh: str = Field(examples=["一号变电所"])
    name_en: str = Field(examples=["Substation 1"])
    remaining_kwh: str = Field(examples=["20000.000"])
    paid_until_wh: int = Field(description="reading of the terminal's counter up to which energy is paid")
    credit_undelivered: bool = Field(description="a booked purchase has not reached the terminal yet")
    recent_load_w: int = Field(examples=[500_000])
    supply_left_h: int | None = Field(description="whole hours at the recent load; null without load", examples=[40])
    trip_forecast_at: datetime | None = Field(description="when the trip threshold is reached at the recent load")
    since: datetime = Field(description="since when it is in this stage")
    because: list[ReasonShown] = Field(description="why this stage")
    held: list[ReasonShown] = Field(description="what holds a harsher step back")
    commandable: bool = Field(description="online, and its downlink is proved")
    last_report_at: datetime | None
    active_power_w: int | None = Field(examples=[480_000])
    safe_load_w: int | None = Field(examples=[50_000])
    limit_w: int | None = Field(description="the limit that the terminal holds; null: none", examples=[None])
    guarantee: str | None = Field(description="off, ordered or automatic; null: never told", examples=["off"])
    rounds: list[RoundShown]
    balances: BalancesShown
    site_code: SiteCodeShown | None = Field(description="given out, and not known yet to be typed; null: none")

    @classmethod
    def whole(
        cls,
        site: Site,
        *,
        site_code: CodeGiven | None,
        facts: Facts | None,
        rounds: list[TerminalRound],
        balances: dict[AccountKind, int],
        now: datetime,
    ) -> Self:
        live, control = site.live, site.control
        state = live.state if live else None
        load_w = live.recent_load_w if live else 0
        shown = {
            **_listed(site),
            "name_zh": site.supply_point.name_zh,
            "name_en": site.supply_point.name_en,
            "remaining_kwh": f"{Decimal(site.remaining_wh).scaleb(-3):f}",
            "paid_until_wh": site.allowance.paid_until_wh,
            "credit_undelivered": site.credit_undelivered,
            "recent_load_w": load_w,
            "supply_left_h": max(site.remaining_wh, 0) // load_w if load_w > 0 else None,
            "trip_forecast_at": forecast_trip_at(facts, now=now) if facts else None,
            "since": control.since,
            "because": control.because,
            "held": control.held,
            "commandable": bool(live and live.online and live.commandable),
            "last_report_at": live.supplied_at if live else None,
            "active_power_w": live.active_power_w if live else None,
            "safe_load_w": site.terminal.safe_load_w if site.terminal else None,
            "limit_w": (state or {}).get("limit_w"),
            "guarantee": (state or {}).get("guarantee"),
            "rounds": [RoundShown.of(fitted, state=state) for fitted in rounds],
            "balances": BalancesShown.of(balances),
            "site_code": SiteCodeShown.maybe(site_code),
        }
        return cls.model_validate(shown)


def _listed(site: Site) -> dict[str, Any]:
    return {
        "id": site.supply_point.id,
        "point_no": site.supply_point.point_no,
        "customer_no": site.customer.customer_no,
        "customer_zh": site.customer.name_zh,
        "customer_en": site.customer.name_en,
        "contract_no": site.contract.contract_no if site.contract else None,
        "terminal_id": site.terminal.id if site.terminal else None,
        "feeder": site.supply_point.feeder,
        "stage": site.control.stage,
        "remaining_wh": site.remaining_wh,
        "online": bool(site.live and site.live.online),
    }


class DecisionShown(BaseModel):
    """A decision as it was recorded, with the facts that it rested on."""

    id: UUID
    decided_at: datetime
    trigger: str = Field(examples=["report"])
    stage_before: StageWord
    stage: StageWord
    because: list[ReasonShown]
    held: list[ReasonShown]
    facts: dict[str, Any] = Field(examples=[{"remaining_wh": 20_000_000, "recent_load_w": 500_000}])

    @classmethod
    def of(cls, decision: StageDecisionRecord) -> Self:
        return cls.model_validate(decision, from_attributes=True)


class WhyShown(BaseModel):
    """The stage now, and the decisions and notices that led to it, newest first."""

    stage: StageWord
    since: datetime
    because: list[ReasonShown]
    held: list[ReasonShown] = Field(description="what stands against a harsher stage")
    credit_held: list[ReasonShown] = Field(description="why the credit on its way is not sent for now")
    decisions: list[DecisionShown]
    notices: list[NoticeShown]
