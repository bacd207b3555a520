"""The kinds of notices and their wording in Chinese and English; a disconnection notice says its exact time."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import StrEnum

CHINA = timezone(timedelta(hours=8), "UTC+8")


class NoticeKind(StrEnum):
    """What is told, in the order in which it comes."""

    REMINDER = "reminder"
    WRITTEN = "written"
    WARNING = "warning"
    LIMITED = "limited"
    SECOND = "second"
    TRIPPED = "tripped"
    RESTORED = "restored"


#: Without these served, nothing is cut.
CUT_NOTICES = frozenset({NoticeKind.WRITTEN, NoticeKind.SECOND})


@dataclass(frozen=True, kw_only=True)
class Wording:
    zh: str
    en: str


def word(kind: NoticeKind, *, remaining_wh: int, cut_not_before: datetime | None, limit_w: int | None) -> Wording:
    """Write a notice of at most 400 characters a language.

    A written notice for 2026-03-04T02:00Z says 2026-03-04 10:00, China's time, since its reader lives by that.
    """
    kwh = f"{remaining_wh // 1000:,}"
    when = f"{cut_not_before.astimezone(CHINA):%Y-%m-%d %H:%M}" if cut_not_before else ""
    kw = f"{(limit_w or 0) // 1000:,}"
    texts = {
        NoticeKind.REMINDER: (
            f"购电提醒：剩余电量 {kwh} 千瓦时，请及时购电。",
            f"Reminder: {kwh} kWh left. Please buy energy in time.",
        ),
        NoticeKind.WRITTEN: (
            f"停电通知：剩余电量 {kwh} 千瓦时。如不购电，最早将于 {when}（北京时间）起分轮次停电，请做好准备。",
            f"Notice: {kwh} kWh left. Without a purchase, supply will be cut, at the earliest from {when} (UTC+8).",
        ),
        NoticeKind.WARNING: (
            f"用电告警：剩余电量 {kwh} 千瓦时，请立即购电。",
            f"Warning: {kwh} kWh left. Please buy energy now.",
        ),
        NoticeKind.LIMITED: (
            f"限电告知：剩余电量 {kwh} 千瓦时，负荷限制为 {kw} 千瓦，超限将跳闸。",
            f"Limit: {kwh} kWh left. Load is limited to {kw} kW; above it rounds will trip.",
        ),
        NoticeKind.SECOND: (
            f"停电前第二次通知：将于 {when}（北京时间）起停电，请立即撤离并停运设备，或立即购电。",
            f"Second notice: supply will be cut from {when} (UTC+8). Stop your equipment safely, or buy energy now.",
        ),
        NoticeKind.TRIPPED: (
            f"已停电：剩余电量 {kwh} 千瓦时。购电后即恢复供电。",
            f"Supply is cut: {kwh} kWh left. It comes back after a purchase.",
        ),
        NoticeKind.RESTORED: (
            f"购电已入账，剩余电量 {kwh} 千瓦时，允许合闸。",
            f"Your purchase is booked, {kwh} kWh left. You may close your breaker.",
        ),
    }
    zh, en = texts[kind]
    return Wording(zh=zh, en=en)
