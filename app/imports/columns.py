"""The columns of each kind of file: the reader, the templates and the tables of docs/import.md all come from here."""

from collections.abc import Mapping

from app.customers.rules import ControlMode, ImportantUser, Industry
from app.imports.facts import (
    Choice,
    Column,
    Form,
    Kind,
    Layout,
    Moment,
    Pattern,
    Price,
    Scaled,
    Text,
    Whole,
    YesNo,
)
from app.imports.reasons import Wording

#: Up to so many of each, as the API takes them one by one.
_MOST_CONTACTS = 20
_MOST_ROUNDS = 8
_LARGEST_CAPACITY_KVA = 10_000_000
_LARGEST_POWER_W = 2**40
_LARGEST_ENERGY_WH = 10**15
_LARGEST_MONEY_FEN = 100_000_000 * 100
_LARGEST_KEPT_FEN = 10_000_000 * 100
_HOURS_A_YEAR = 366 * 24

_INDUSTRIES: dict[str, str] = {
    Industry.METALLURGY: "冶金", Industry.MACHINERY: "机械", Industry.CHEMICALS: "化工", Industry.TEXTILES: "纺织",
    Industry.ELECTRONICS: "电子", Industry.FOOD: "食品", Industry.CEMENT: "水泥", Industry.COMMERCE: "商业",
    Industry.HOSPITAL: "医院", Industry.EDUCATION: "教育", Industry.WATER: "供水", Industry.LOGISTICS: "物流",
}  # fmt: skip
_MODES: dict[str, str] = {ControlMode.REMOTE: "远方", ControlMode.LOCAL: "就地"}
_GRADES: dict[str, str] = {
    ImportantUser.NONE: "无", ImportantUser.TEMPORARY: "临时", ImportantUser.SECOND: "二级",
    ImportantUser.FIRST: "一级", ImportantUser.SPECIAL: "特级",
}  # fmt: skip
_LANGUAGES = {"zh": "中文", "en": "英文"}


def _number(most: int) -> Pattern:
    return Pattern(
        r"[A-Za-z0-9][A-Za-z0-9._-]*",
        most,
        Wording(
            f"字母、数字、. _ -，最多 {most} 个字符",
            f"letters, digits, '.', '_', '-', at most {most}, beginning with a letter or digit",
        ),
    )


_PHONE = Pattern(
    r"\+?[0-9][0-9 ()/-]{2,38}",
    40,
    Wording("电话号码，如 021-55500001", "a telephone number such as 021-55500001"),
)
_EMAIL = Pattern(r"[^@\s]+@[^@\s]+", 200, Wording("电子邮箱，如 li@example.com", "an address such as li@example.com"))
_TERMINAL_ID = Pattern(
    r"[A-Z0-9-]{4,32}",
    32,
    Wording("4 至 32 个大写字母、数字、-", "4 to 32 of A-Z, 0-9 and '-'"),
)
_METER_NO = Pattern(
    r"[A-Za-z0-9._-]+", 64, Wording("字母、数字、. _ -，最多 64 个字符", "letters, digits, '.', '_', '-', at most 64")
)
_KWH = Scaled(3, _LARGEST_ENERGY_WH)
_KW = Scaled(3, _LARGEST_POWER_W)
_HOURS = Whole(1, 10_000)


def _must(name: str, headings: tuple[str, str], form: Form, example: str, means: tuple[str, str]) -> Column:
    return Column(name=name, zh=headings[0], en=headings[1], form=form, example=example, means=Wording(*means))


def _may(name: str, headings: tuple[str, str], form: Form, example: str, means: tuple[str, str]) -> Column:
    zh, en = headings
    return Column(name=name, zh=zh, en=en, form=form, example=example, means=Wording(*means), required=False)


def _or(default: object, column: Column) -> Column:
    return Column(**{**column.__dict__, "required": False, "default": default})


def _part(column: Column) -> Column:
    return Column(**{**column.__dict__, "of_part": True})


def _once(column: Column) -> Column:
    return Column(**{**column.__dict__, "unique": True})


_CUSTOMERS = (
    _must("customer_no", ("客户编号", "customer no"), _number(20), "C0001",
          ("客户的编号；有几个联系人就写几行", "names the customer; one line for each contact")),
    _must("office_code", ("营业厅代码", "office code"), Text(60), "PD", ("系统中已有的营业厅", "an office that is there")),
    _must("name_zh", ("客户名称", "name (Chinese)"), Text(200), "华星铸造厂", ("中文名称", "the name in Chinese")),
    _must("name_en", ("英文名称", "name (English)"), Text(200), "Huaxing Foundry", ("英文名称", "the name in English")),
    _must("industry", ("行业", "industry"), Choice(_INDUSTRIES), "冶金", ("行业", "the trade")),
    _part(_must("name", ("联系人", "contact"), Text(100), "王强", ("被通知的人", "who is told things"))),
    _part(_must("duty", ("联系人职务", "contact's duty"), Text(100), "电气主管", ("职务", "what the contact does"))),
    _part(_must("phone", ("联系人电话", "contact's phone"), _PHONE, "021-55500001", ("电话", "telephone"))),
    _part(_may("email", ("联系人邮箱", "contact's email"), _EMAIL, "wang@example.com", ("邮箱", "electronic mail"))),
    _part(_or("zh", _may("language", ("联系人语言", "contact's language"), Choice(_LANGUAGES), "中文",
                         ("通知所用语言；空为中文", "of what is told; blank: Chinese")))),
)  # fmt: skip

_CONTRACTS = (
    _must("contract_no", ("合同编号", "contract no"), _number(30), "HT-2026-0001", ("合同编号", "names the contract")),
    _must("customer_no", ("客户编号", "customer no"), _number(20), "C0001", ("已登记的客户", "a customer that is there")),
    _once(_must("point_no", ("用电点编号", "supply point no"), _number(20), "GD000001",
                ("新用电点的编号", "names the new supply point"))),
    _must("point_zh", ("用电点名称", "supply point (Chinese)"), Text(200), "华星专变", ("中文名称", "its name in Chinese")),
    _must("point_en", ("用电点英文名称", "supply point (English)"), Text(200), "Huaxing substation",
          ("英文名称", "its name in English")),
    _must("address", ("用电地址", "address"), Text(200), "浦东新区钢铁路 1 号", ("地址", "where it is")),
    _must("feeder", ("线路", "feeder"), Text(60), "浦13", ("供电线路", "the line that feeds it")),
    _must("voltage_v", ("电压（V）", "voltage (V)"), Whole(220, 1_200_000), "10000", ("供电电压", "supply voltage")),
    _must("capacity_kva", ("合同容量（kVA）", "capacity (kVA)"), Whole(1, _LARGEST_CAPACITY_KVA), "1000",
          ("合同容量", "contracted capacity")),
    _must("limit_w", ("限电功率（kW）", "limit (kW)"), _KW, "500",
          ("限电阶段允许的功率，不高于容量", "power that the stage limited allows; at most the capacity")),
    _must("control_mode", ("控制方式", "control mode"), Choice(_MODES), "远方",
          ("远方：系统决定；就地：终端自行决定", "remote: the service decides; local: the terminal alone")),
    _or(ImportantUser.NONE, _may("important_user", ("重要用户等级", "important user"), Choice(_GRADES), "无",
                                 ("空为无", "blank: none"))),
    _or(False, _may("protected", ("受保护", "protected"), YesNo(), "否",
                    ("是：永不限电跳闸；空为否", "yes: never limited, never tripped; blank: no"))),
    _may("notice_wh", ("通知门限（kWh）", "notice (kWh)"), _KWH, "",
         ("剩余电量到此即通知；与小时数二选一", "the stage notice begins here; or give hours")),
    _may("notice_hours", ("通知门限（小时）", "notice (h)"), _HOURS, "96", ("按近期负荷的小时数", "hours at the recent load")),
    _may("warning_wh", ("告警门限（kWh）", "warning (kWh)"), _KWH, "",
         ("告警阶段；与小时数二选一", "the stage warning; or give hours")),
    _may("warning_hours", ("告警门限（小时）", "warning (h)"), _HOURS, "48", ("小时数", "hours at the recent load")),
    _may("limited_wh", ("限电门限（kWh）", "limited (kWh)"), _KWH, "",
         ("限电阶段；与小时数二选一", "the stage limited; or give hours")),
    _may("limited_hours", ("限电门限（小时）", "limited (h)"), _HOURS, "24", ("小时数", "hours at the recent load")),
    _or(0, _may("trip_wh", ("跳闸门限（kWh）", "trip (kWh)"), _KWH, "0",
                ("剩余电量到此即跳闸；空为 0", "supply is cut here; blank: 0"))),
    _or(72, _may("written_notice_h", ("书面通知提前（小时）", "written notice (h)"), Whole(0, _HOURS_A_YEAR), "72",
                 ("跳闸前多久书面通知；空为 72", "from written notice to trip; blank: 72"))),
    _or(30, _may("second_notice_min", ("第二次通知提前（分钟）", "second notice (min)"), Whole(0, _HOURS_A_YEAR * 60), "30",
                 ("跳闸前多久再次通知；空为 30", "from second notice to trip; blank: 30"))),
    _or(0, _may("reading_wh", ("投运表码（kWh）", "reading at commissioning (kWh)"), _KWH, "0",
                ("终端累计电量的起点；空为 0", "the terminal's counter, before which nothing is sold; blank: 0"))),
    _may("yuan_per_kwh", ("购电电价（元/kWh）", "price (yuan/kWh)"), Price(), "0.8130",
         ("空：以后再定", "blank: it is set later")),
    _may("price_from", ("电价生效", "price from"), Moment(), "2026-03-01", ("有电价时必填", "needed with a price")),
    _may("price_until", ("电价截止", "price until"), Moment(), "", ("空：到下一个电价为止", "blank: until the next one")),
)  # fmt: skip

_TERMINALS = (
    _must("terminal_id", ("终端编号", "terminal id"), _TERMINAL_ID, "SH-PD-0001",
          ("终端编号；每个轮次一行", "names the terminal; one line for each round")),
    _once(_must("point_no", ("用电点编号", "supply point no"), _number(20), "GD000001",
                ("已有的用电点", "a supply point that is there"))),
    _must("meter_no", ("电表编号", "meter no"), _METER_NO, "DB00000001", ("电表编号", "the meter that it reads")),
    _must("safe_load_w", ("保安负荷（kW）", "safe load (kW)"), _KW, "50", ("永不切除的功率", "power that is never cut")),
    _part(_must("round", ("轮次", "round"), Whole(1, _MOST_ROUNDS), "1", ("跳闸继电器", "the trip relay"))),
    _part(_must("feeds_zh", ("轮次负荷", "feeds (Chinese)"), Text(100), "空调", ("所带负荷", "what it feeds, in Chinese"))),
    _part(_must("feeds_en", ("轮次负荷英文", "feeds (English)"), Text(100), "air conditioning",
                ("英文", "the same in English"))),
    _part(_must("importance", ("重要程度", "importance"), Whole(1, 1000), "1", ("1 最先切除", "1 is tripped first"))),
    _part(_must("load_w", ("轮次功率（kW）", "load (kW)"), _KW, "120", ("所带功率", "its connected load"))),
)  # fmt: skip

_OPENING_BALANCES = (
    _must("contract_no", ("合同编号", "contract no"), _number(30), "HT-2026-0001",
          ("已有的合同，尚未购电", "a contract that is there, before its first purchase")),
    _must("reading_wh", ("终端表码（kWh）", "reading (kWh)"), _KWH, "1200",
          ("终端累计电量，剩余电量即按此读数", "the terminal's counter when the remaining energy was read")),
    _must("remaining_wh", ("剩余电量（kWh）", "remaining energy (kWh)"), _KWH, "5000",
          ("该读数时已付未用的电量", "paid and not used at that reading")),
    _or(0, _may("energy_paid_fen", ("剩余电量金额（元）", "paid for it (yuan)"), Scaled(2, _LARGEST_MONEY_FEN), "4000.00",
                ("剩余电量所付金额；空为 0", "what was paid for that energy; blank: 0"))),
    _or(0, _may("debt_fen", ("旧欠费（元）", "old debt (yuan)"), Scaled(2, _LARGEST_MONEY_FEN), "1200.00",
                ("下次购电先还；空为 0", "paid off first by the next purchases; blank: 0"))),
    _or(0, _may("kept_fen", ("结余金额（元）", "money kept (yuan)"), Scaled(2, _LARGEST_KEPT_FEN), "12.00",
                ("尚未购电的钱，下次购电用；空为 0", "has bought nothing yet; goes into the next purchase; blank: 0"))),
)  # fmt: skip

LAYOUTS: Mapping[Kind, Layout] = {
    Kind.CUSTOMERS: Layout(kind=Kind.CUSTOMERS, columns=_CUSTOMERS, most_parts=_MOST_CONTACTS),
    Kind.CONTRACTS: Layout(kind=Kind.CONTRACTS, columns=_CONTRACTS),
    Kind.TERMINALS: Layout(kind=Kind.TERMINALS, columns=_TERMINALS, most_parts=_MOST_ROUNDS),
    Kind.OPENING_BALANCES: Layout(kind=Kind.OPENING_BALANCES, columns=_OPENING_BALANCES),
}
