"""Who and what lives in the demonstration: invented offices, people and customers of different trades."""

from dataclasses import dataclass

from app.customers.rules import ControlMode, ImportantUser, Industry
from app.roles import Role

PASSWORD = "wattgate-demo"  # noqa: S105 - printed at the start of the demo, refused by production


@dataclass(frozen=True, kw_only=True)
class DemoRound:
    """A relay: what it feeds, its share of the rated power, importance 1 goes first."""

    feeds_zh: str
    feeds_en: str
    share_percent: int
    importance: int


@dataclass(frozen=True, kw_only=True)
class DemoCustomer:
    """A customer with one supply point. ``hours_bought`` is how long the first purchase should last."""

    number: int
    office: str
    name_zh: str
    name_en: str
    industry: Industry
    capacity_kva: int
    voltage_v: int
    feeder: str
    shape: str
    rated_power_w: int
    price: str
    rounds: tuple[DemoRound, ...]
    hours_bought: int = 200
    limit_percent: int = 60
    threshold_hours: tuple[int, int, int] = (96, 48, 24)
    control_mode: ControlMode = ControlMode.REMOTE
    important_user: ImportantUser = ImportantUser.NONE
    protected: bool = False
    debt_fen: int = 0

    @property
    def customer_no(self) -> str:
        return f"31{self.number:08d}"

    @property
    def contract_no(self) -> str:
        return f"HT-2026-{self.number:04d}"

    @property
    def point_no(self) -> str:
        return f"GD{self.number:06d}"

    @property
    def terminal_id(self) -> str:
        return f"FK-{self.number:04d}"


OFFICES = (
    ("PD", "浦东供电营业厅", "Pudong supply office"),
    ("MH", "闵行供电营业厅", "Minhang supply office"),
    ("JD", "嘉定供电营业厅", "Jiading supply office"),
)

PEOPLE = (
    ("cashier", "陈晓雯", "Chen Xiaowen", Role.CASHIER, "PD"),
    ("cashier2", "刘志强", "Liu Zhiqiang", Role.CASHIER, "MH"),
    ("operator", "王建国", "Wang Jianguo", Role.OPERATOR, "PD"),
    ("approver", "赵敏", "Zhao Min", Role.APPROVER, "PD"),
    ("manager", "孙丽华", "Sun Lihua", Role.ACCOUNT_MANAGER, "PD"),
    ("tariffs", "周文博", "Zhou Wenbo", Role.TARIFF_KEEPER, "PD"),
    ("auditor", "吴静", "Wu Jing", Role.AUDITOR, "PD"),
    ("admin", "郑凯", "Zheng Kai", Role.ADMINISTRATOR, "PD"),
)

#: Who has proposed and who has approved that the service limits and trips by itself here.
PROPOSED_BY, APPROVED_BY = "operator", "approver"

_FACTORY = (
    DemoRound(feeds_zh="办公与生活", feeds_en="offices and canteen", share_percent=10, importance=1),
    DemoRound(feeds_zh="辅助车间", feeds_en="auxiliary workshop", share_percent=25, importance=2),
    DemoRound(feeds_zh="主生产线", feeds_en="main production line", share_percent=50, importance=3),
)
_FURNACE = (
    DemoRound(feeds_zh="办公与生活", feeds_en="offices and canteen", share_percent=5, importance=1),
    DemoRound(feeds_zh="二号电炉", feeds_en="furnace no. 2", share_percent=40, importance=2),
    DemoRound(feeds_zh="一号电炉", feeds_en="furnace no. 1", share_percent=45, importance=3),
)
_MALL = (
    DemoRound(feeds_zh="景观照明", feeds_en="display lighting", share_percent=15, importance=1),
    DemoRound(feeds_zh="空调机组", feeds_en="air conditioning", share_percent=45, importance=2),
)
_HOSPITAL = (DemoRound(feeds_zh="洗衣房与停车场", feeds_en="laundry and car park", share_percent=15, importance=1),)

CUSTOMERS = (
    DemoCustomer(
        number=1, office="PD", name_zh="浦江电炉钢有限公司", name_en="Pujiang Electric Steel", industry=Industry.METALLURGY,
        capacity_kva=8000, voltage_v=35_000, feeder="浦11", shape="night_furnace", rated_power_w=6_000_000,
        price="0.7615", rounds=_FURNACE, hours_bought=260,
    ),
    DemoCustomer(
        number=2, office="PD", name_zh="东海精密机械厂", name_en="Donghai Precision Machinery", industry=Industry.MACHINERY,
        capacity_kva=1000, voltage_v=10_000, feeder="浦12", shape="two_shift", rated_power_w=800_000,
        price="0.8000", rounds=_FACTORY, hours_bought=110,
    ),
    DemoCustomer(
        number=3, office="PD", name_zh="天虹购物中心", name_en="Tianhong Mall", industry=Industry.COMMERCE,
        capacity_kva=2500, voltage_v=10_000, feeder="浦14", shape="mall", rated_power_w=2_000_000,
        price="0.8420", rounds=_MALL, hours_bought=180,
    ),
    DemoCustomer(
        number=4, office="PD", name_zh="浦东第二人民医院", name_en="Pudong No. 2 Hospital", industry=Industry.HOSPITAL,
        capacity_kva=2000, voltage_v=10_000, feeder="浦15", shape="hospital", rated_power_w=1_400_000,
        price="0.7020", rounds=_HOSPITAL, hours_bought=90, important_user=ImportantUser.FIRST, protected=True,
    ),
    DemoCustomer(
        number=5, office="MH", name_zh="华联化工", name_en="Hualian Chemicals", industry=Industry.CHEMICALS,
        capacity_kva=6300, voltage_v=35_000, feeder="闵21", shape="steady", rated_power_w=5_000_000,
        price="0.7338", rounds=_FACTORY, hours_bought=300, important_user=ImportantUser.SECOND,
    ),
    DemoCustomer(
        number=6, office="MH", name_zh="新棉纺织有限公司", name_en="Xinmian Textiles", industry=Industry.TEXTILES,
        capacity_kva=1600, voltage_v=10_000, feeder="闵22", shape="three_shift", rated_power_w=1_200_000,
        price="0.7893", rounds=_FACTORY, hours_bought=100, debt_fen=1_250_000,
    ),
    DemoCustomer(
        number=7, office="MH", name_zh="芯源电子", name_en="Xinyuan Electronics", industry=Industry.ELECTRONICS,
        capacity_kva=4000, voltage_v=10_000, feeder="闵23", shape="three_shift", rated_power_w=3_200_000,
        price="0.7761", rounds=_FACTORY, hours_bought=400,
    ),
    DemoCustomer(
        number=8, office="MH", name_zh="光明食品冷链", name_en="Guangming Cold Chain", industry=Industry.FOOD,
        capacity_kva=1250, voltage_v=10_000, feeder="闵24", shape="steady", rated_power_w=900_000,
        price="0.8105", rounds=_FACTORY, hours_bought=130, control_mode=ControlMode.LOCAL,
    ),
    DemoCustomer(
        number=9, office="JD", name_zh="嘉定水泥厂", name_en="Jiading Cement", industry=Industry.CEMENT,
        capacity_kva=5000, voltage_v=35_000, feeder="嘉31", shape="night_furnace", rated_power_w=4_000_000,
        price="0.7412", rounds=_FURNACE, hours_bought=150,
    ),
    DemoCustomer(
        number=10, office="JD", name_zh="嘉定大学城", name_en="Jiading University Town", industry=Industry.EDUCATION,
        capacity_kva=3150, voltage_v=10_000, feeder="嘉32", shape="office", rated_power_w=2_200_000,
        price="0.6900", rounds=_MALL, hours_bought=240,
    ),
    DemoCustomer(
        number=11, office="JD", name_zh="城北自来水厂", name_en="Chengbei Waterworks", industry=Industry.WATER,
        capacity_kva=1600, voltage_v=10_000, feeder="嘉33", shape="steady", rated_power_w=1_100_000,
        price="0.6855", rounds=_HOSPITAL, hours_bought=220, important_user=ImportantUser.SECOND, protected=True,
    ),
    DemoCustomer(
        number=12, office="JD", name_zh="安捷物流园", name_en="Anjie Logistics Park", industry=Industry.LOGISTICS,
        capacity_kva=800, voltage_v=10_000, feeder="嘉34", shape="two_shift", rated_power_w=500_000,
        price="0.8260", rounds=_MALL, hours_bought=105, control_mode=ControlMode.LOCAL,
    ),
)  # fmt: skip

#: The two of the story: one where the service decides, one where the terminal decides alone.
STORY_CUSTOMERS = (
    DemoCustomer(
        number=101, office="PD", name_zh="东海精密机械厂", name_en="Donghai Precision Machinery",
        industry=Industry.MACHINERY, capacity_kva=1000, voltage_v=10_000, feeder="浦12", shape="steady",
        rated_power_w=800_000, price="0.8000", rounds=_FACTORY, hours_bought=0, limit_percent=90,
    ),
    DemoCustomer(
        number=102, office="MH", name_zh="光明食品冷链", name_en="Guangming Cold Chain", industry=Industry.FOOD,
        capacity_kva=1250, voltage_v=10_000, feeder="闵24", shape="steady", rated_power_w=800_000, price="0.8000",
        rounds=_FACTORY, hours_bought=0, control_mode=ControlMode.LOCAL,
        threshold_hours=(30, 20, 10),
    ),
)  # fmt: skip
