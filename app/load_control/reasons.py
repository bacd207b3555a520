"""Every reason that a decision can give, in words for people: Chinese and English."""

from dataclasses import dataclass

_TEXTS: dict[str, tuple[str, str]] = {
    "no_report_yet": ("终端尚未上报用电量。", "The terminal has not reported its consumption yet."),
    "not_started": ("首次购电后开始预付费控制。", "Prepaid control begins with the first purchase."),
    "terminal_exchanged": (
        "终端已更换，限电和跳闸随旧终端解除。",
        "The terminal was exchanged; limit and trips went with the old one.",
    ),
    "above_thresholds": (
        "剩余电量 {remaining_kwh} 千瓦时，高于通知门限 {level_kwh} 千瓦时。",
        "{remaining_kwh} kWh left, above the notice threshold of {level_kwh} kWh.",
    ),
    "at_or_below": (
        "剩余电量 {remaining_kwh} 千瓦时，已到{stage_zh}门限 {level_kwh} 千瓦时。",
        "{remaining_kwh} kWh left, at or below the {stage_en} threshold of {level_kwh} kWh.",
    ),
    "held_until_purchase": (
        "未新购电，保持{stage_zh}阶段（剩余电量 {remaining_kwh} 千瓦时）。",
        "No new purchase, so the stage stays {stage} ({remaining_kwh} kWh left).",
    ),
    "protected": ("该用户受保护，不得自动限电或跳闸。", "The customer is protected and is never limited or tripped."),
    "closing": ("正在销户清算，不限电、不跳闸。", "The account is being closed, so nothing is limited or tripped."),
    "guaranteed": ("正在保电，不得限电或跳闸。", "Supply is guaranteed, so nothing is limited or tripped."),
    "terminal_decides": (
        "合同为就地控制，由终端自行跳闸。",
        "The contract says local control: the terminal decides.",
    ),
    "estimate": ("用电量为估算值，不据此跳闸。", "The consumption is an estimate, and an estimate never cuts."),
    "stale_report": ("最近一次上报已过时（{reported_at}）。", "The latest report is too old ({reported_at})."),
    "credit_undelivered": ("有已购电量尚未下发到终端。", "A booked purchase has not reached the terminal yet."),
    "unreachable": ("终端不在线或下行未经证实。", "The terminal is offline, or its downlink is not proved."),
    "threshold_not_reached": (
        "剩余电量 {remaining_kwh} 千瓦时，未到门限。",
        "{remaining_kwh} kWh left: the threshold is not reached.",
    ),
    "must_stay": (
        "下发后仅剩 {remaining_kwh} 千瓦时，须保留 {must_stay_kwh} 千瓦时，以免不经通知跳闸；请撤回退费或再购电。",
        "{remaining_kwh} kWh would be left where {must_stay_kwh} kWh must stay: withdraw the refund, or sell more.",
    ),
    "refund_unproved": (
        "退费 {refunding_kwh} 千瓦时尚未从终端收回，款也未付；请付清或撤回退费。",
        "A refund of {refunding_kwh} kWh is neither taken back from the terminal nor paid: finish or withdraw it.",
    ),
    "not_taken_over": (
        "终端尚未按账面更新购电参数，此时投入可能立即跳闸。",
        "The terminal has not taken over what the books say, and could trip at once by levels of its own.",
    ),
    "used_while_closing": (
        "止码之后又有用电；请撤回销户，待用户停电后重新申请。",
        "Energy was used after the final reading: withdraw the closing, and ask again when the load has ended.",
    ),
    "load_running": (
        "销户期间仍有负荷（{active_power_kw} 千瓦）；请让用户停止用电，或撤回销户。",
        "{active_power_kw} kW are running while the account is being closed: have the load ended, or withdraw it.",
    ),
    "power_unknown": (
        "终端未上报功率，无法确认已停止用电；请待下一次上报。",
        "The terminal has not told its power, so the load may still be running: wait for its next report.",
    ),
    "order_unknown": (
        "终端显示的购电单号并非本系统下发；请先核查终端与账务，必要时撤回。",
        "The terminal shows an order that it was never given here: have it and the books looked at, or withdraw.",
    ),
    "not_approved": (
        "人工限电、停电须经另一人批准，此命令无有效批准。",
        "A cut by hand needs the approval of another person, and none stands behind this one.",
    ),
    "campaign_stopped": (
        "所属批量任务已停止，此命令不再下发。",
        "The campaign of this cut has stopped, so it is not sent.",
    ),
    "brake_on": (
        "批量停限电制动已启动（{where}），待人工核查后解除。",
        "The brake on cuts is on ({where}): a person must look and release it first.",
    ),
    "no_cut_time": (
        "此时段禁止停电（{rule}），{until} 前不得跳闸。",
        "Nobody is cut off at this time ({rule}): not before {until}.",
    ),
    "no_policy": (
        "没有经两人批准并生效的停限电策略，不得自动限电或跳闸。",
        "No trip policy that two people have approved is in force, so nothing is limited or tripped automatically.",
    ),
    "policy_forbids": (
        "现行停限电策略（第 {version} 版）不允许自动执行此操作。",
        "The trip policy in force (version {version}) does not let the service do this by itself.",
    ),
    "no_notice": ("尚未发出书面停电通知。", "No written notice has been given."),
    "notice_not_served": ("书面通知尚无送达证明。", "There is no proof yet that the written notice arrived."),
    "notice_period": ("书面通知期未满，{until} 前不得跳闸。", "The written notice runs until {until}."),
    "no_second_notice": ("尚未发出停电前的第二次通知。", "The second notice before the cut has not been given."),
    "second_notice_not_served": ("第二次通知尚无送达证明。", "There is no proof yet that the second notice arrived."),
    "second_notice_period": ("第二次通知期未满，{until} 前不得跳闸。", "The second notice runs until {until}."),
    "round_in_flight": ("上一轮次尚未核实。", "The round before is not verified yet."),
    "round_pause": ("轮次间隔未到（{until}）。", "The pause between rounds runs until {until}."),
    "safe_load_kept": (
        "当前负荷 {active_power_kw} 千瓦已不高于保安负荷 {safe_load_kw} 千瓦，不再跳闸。",
        "Only {active_power_kw} kW is running, at or below the safe load of {safe_load_kw} kW: no more trips.",
    ),
    "retry_pause": (
        "上一次命令未成功，{until} 后重试。",
        "The last command came to nothing; the next try is at {until}.",
    ),
}

CODES = frozenset(_TEXTS)

_THRESHOLD_EN = {"notice": "notice", "warning": "warning", "limited": "limit", "tripped": "trip"}
STAGE_ZH = {"normal": "正常", "notice": "通知", "warning": "告警", "limited": "限电", "tripped": "跳闸"}


def in_thousands(value: int) -> str:
    """Say Wh in kWh, or W in kW, to the last one: 82 400 is ``82.4`` and 60 024 000 is ``60,024``."""
    whole, rest = divmod(abs(value), 1000)
    return f"{'-' if value < 0 else ''}{whole:,}" + (f".{rest:03}".rstrip("0") if rest else "")


@dataclass(frozen=True)
class Reason:
    """One reason: a stable code and the numbers behind it."""

    code: str
    facts: dict[str, int | str]

    def __init__(self, code: str, **facts: int | str) -> None:
        if code not in _TEXTS:
            raise ValueError(f"{code!r} has no words in reasons.py")
        object.__setattr__(self, "code", code)
        object.__setattr__(self, "facts", facts)

    def text(self, language: str) -> str:
        """Say it in ``zh`` or ``en``, energies in kWh and powers in kW."""
        chinese, english = _TEXTS[self.code]
        words: dict[str, int | str] = dict(self.facts)
        for name, value in self.facts.items():
            if isinstance(value, int) and name.endswith(("_wh", "_w")):
                stem, unit = name.rsplit("_", 1)
                words[f"{stem}_k{unit}"] = in_thousands(value)
        words["stage_en"] = _THRESHOLD_EN.get(str(self.facts.get("stage", "")), "")
        words["stage_zh"] = STAGE_ZH.get(str(self.facts.get("stage", "")), "")
        return (chinese if language == "zh" else english).format(**words)

    def as_json(self) -> dict[str, object]:
        return {"code": self.code, "facts": self.facts, "zh": self.text("zh"), "en": self.text("en")}
