"""Site codes over HTTP: for a terminal that is off line, with what was paid for, the same each time, and no more."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from databases import Database
from desk import Desk, a_desk, refusal
from factories import a_contract, a_live_terminal, a_state, a_terminal, an_exchange, issued_by_two
from outbox import SIGNER, Outbox, later
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.clock import Clock
from app.commands import service as commands
from app.commands.dispatch import Dispatcher
from app.commands.models import Command
from app.commands.rules import AckStep, Op
from app.commands.service import Answer, NewCommand
from app.database import new_id, transaction
from app.mqtt.signing import new_private_key_pem
from app.mqtt.site_codes import SiteCode, SiteSecret, key_text, read
from app.roles import Role
from app.staff.models import StaffMember
from app.terminals.models import Terminal, TerminalLive
from app.verification import INVARIANTS, find_broken

CONTRACT, TERMINAL, OTHER = "HT-1", "SH-0001", "SH-0009"
SECRET = SiteSecret(bytes(range(32)))
#: 20 MWh at 0.8.
PAID_YUAN, PAID_WH = "16000.00", 20_000_000


@dataclass(kw_only=True)
class Site:
    """A factory whose terminal was online once, holds nothing, and has been off line since."""

    desk: Desk
    point: UUID

    def sell(self, amount_yuan: str = PAID_YUAN) -> dict[str, Any]:
        body = {"contract_no": CONTRACT, "amount_yuan": amount_yuan}
        answer = self.desk.post("/purchases", body, role=Role.CASHIER)
        assert answer.status_code == 201, answer.text
        sold: dict[str, Any] = answer.json()
        return sold

    def ask(self, *, role: Role = Role.CASHIER) -> Any:
        return self.desk.post(f"/supply-points/{self.point}/site-code", {}, role=role)

    def code(self) -> dict[str, Any]:
        answer = self.ask()
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store"), answer.text
        given: dict[str, Any] = answer.json()
        return given

    def typed(self, given: dict[str, Any], *, order_no: int = 0, paid_until_wh: int = 0) -> SiteCode:
        return read(
            given["code"], SECRET.key_of(given["terminal_id"]), order_no=order_no, paid_until_wh=paid_until_wh
        )

    def tells(self, *, online: bool = False, supplied_wh: int = 0, power_w: int = 480_000, **state: Any) -> None:
        with transaction(self.desk.database.engine) as session:
            told = a_state(**{"paid_until_wh": 0, "remaining_wh": 0, **state})
            a_live_terminal(
                session,
                terminal_id=TERMINAL,
                now=datetime.now(UTC),
                state=told,
                supplied_wh=supplied_wh,
                active_power_w=power_w,
            )
        self.live(online=online, commandable=online)

    def live(self, **columns: Any) -> None:
        with transaction(self.desk.database.engine) as session:
            row = session.get_one(TerminalLive, TERMINAL)
            for name, value in columns.items():
                setattr(row, name, value)

    def order(self, op: Op, **args: Any) -> UUID:
        with transaction(self.desk.database.engine) as session:
            person = session.query(StaffMember).first()
            assert person is not None
            new = NewCommand(
                terminal_id=TERMINAL, supply_point_id=self.point, op=op, args=args, reason="r", requested_by=person.id
            )
            now = datetime.now(UTC)
            if op is Op.TRIP:
                return issued_by_two(session, new, clock=Clock(), now=now).id
            return commands.issue(session, new, clock=Clock(), now=now).id

    def does(self, command_id: UUID) -> None:
        """The terminal answers that it has carried a command out."""
        now = datetime.now(UTC)
        told = Answer(terminal_id=TERMINAL, command_id=command_id, step=AckStep.EXECUTED, code=None, at=now)
        with transaction(self.desk.database.engine) as session:
            session.get_one(Command, command_id).attempts += 1
            commands.note_answers(session, [told], now=now)

    def command(self, command_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.desk.get(f"/commands/{command_id}").json()
        return shown

    def books_hold(self) -> None:
        with transaction(self.desk.database.engine) as session:
            assert [row for one in INVARIANTS for row in find_broken(session, one)] == []


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "site-secret"
    path.write_text(bytes(range(32)).hex())
    return path


@pytest.fixture
def desk(database: Database, tmp_path: Path, secret_file: Path) -> Iterator[Desk]:
    key = tmp_path / "signing.pem"
    key.write_bytes(new_private_key_pem())
    with a_desk(database, signing_key_file=key, site_secret_file=secret_file) as opened:
        yield opened


@pytest.fixture
def site(desk: Desk) -> Site:
    with transaction(desk.database.engine) as session:
        point = a_contract(session, contract_no=CONTRACT).supply_point_id
        a_terminal(session, supply_point_id=point, terminal_id=TERMINAL).site_key_id = SECRET.id
    made = Site(desk=desk, point=point)
    made.tells()
    return made


def test_a_code_carries_the_purchase_and_is_the_same_each_time_and_each_time_recorded(site: Site) -> None:
    sold = site.sell()
    first, again = site.code(), site.ask(role=Role.OPERATOR).json()
    assert site.typed(first) == SiteCode(order_no=1, paid_until_wh=PAID_WH)
    assert (again, first["issued_by"]) == (first, "cashier.one")
    events = site.desk.get("/audit", action="site_code.given").json()["items"]
    assert [one["actor"] for one in events] == ["operator.one", "cashier.one"]
    digits = first["code"]
    assert digits not in str(events)
    shown = {name: value for name, value in first.items() if name != "code"}
    assert site.desk.get(f"/purchases/{sold['purchase_no']}").json()["site_code"] == shown
    assert site.desk.get(f"/supply-points/{site.point}").json()["site_code"] == shown
    assert site.desk.get(f"/supply-points/{site.point}/site-codes").json()["items"] == [shown]
    assert [one["step"] for one in site.command(sold["command_id"])["steps"]] == ["site code"]
    site.books_hold()


def test_a_code_of_a_later_purchase_contains_the_earlier_ones(site: Site) -> None:
    first = site.sell()
    before = site.code()
    site.sell()
    given = site.code()
    assert site.typed(given) == SiteCode(order_no=2, paid_until_wh=2 * PAID_WH)
    assert site.desk.get(f"/purchases/{first['purchase_no']}").json()["site_code"]["order_no"] == 2
    # Whoever has written down the first one loses nothing by typing it before the second.
    assert site.typed(given, order_no=1, paid_until_wh=site.typed(before).paid_until_wh).order_no == 2
    site.books_hold()


def test_what_has_arrived_is_no_longer_shown_as_a_code(site: Site) -> None:
    sold = site.sell()
    site.code()
    with transaction(site.desk.database.engine) as session:
        session.get_one(Command, UUID(sold["command_id"])).verified_at = datetime.now(UTC)
    site.tells(order_no=1, paid_until_wh=PAID_WH)
    assert site.desk.get(f"/supply-points/{site.point}").json()["site_code"] is None
    assert site.desk.get(f"/purchases/{sold['purchase_no']}").json()["site_code"]["order_no"] == 1


def other_secret(site: Site) -> None:
    with transaction(site.desk.database.engine) as session:
        session.get_one(Terminal, TERMINAL).site_key_id = "0" * 16


def no_key(site: Site) -> None:
    with transaction(site.desk.database.engine) as session:
        session.get_one(Terminal, TERMINAL).site_key_id = None


def far_ahead(site: Site) -> None:
    with transaction(site.desk.database.engine) as session:
        session.get_one(Terminal, TERMINAL).last_order_no = 127
    site.sell()


def being_closed(site: Site) -> None:
    site.tells(power_w=0)
    answer = site.desk.post(f"/contracts/{CONTRACT}/closing", {"reason": "moves"}, role=Role.ACCOUNT_MANAGER)
    assert answer.status_code == 201, answer.text


def retired(site: Site) -> None:
    with transaction(site.desk.database.engine) as session:
        session.get_one(Terminal, TERMINAL).retired_at = datetime.now(UTC)


def delivered(site: Site) -> None:
    with transaction(site.desk.database.engine) as session:
        session.execute(text("UPDATE commands SET state = 'verified', ended_at = now() WHERE op = 'credit'"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda site: site.tells(online=True), (409, "terminal-reachable")),
        (lambda site: site.live(state=None), (409, "not-commissioned")),
        (no_key, (409, "no-site-key")),
        (other_secret, (409, "no-site-key")),
        (delivered, (409, "nothing-to-carry")),
        (lambda site: site.tells(paid_until_wh=PAID_WH + 1), (409, "code-would-lower")),
        (far_ahead, (409, "too-far-ahead")),
        (being_closed, (409, "contract-closing")),
        (retired, (404, "no-terminal-fitted")),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_code_is_refused_where_it_would_be_wrong(
    site: Site, change: Callable[[Site], None], expected: tuple[int, str]
) -> None:
    site.sell()
    change(site)
    assert refusal(site.ask()) == expected
    assert site.desk.count("site_codes") == 0


def test_a_link_that_is_up_and_proves_nothing_is_no_line(site: Site) -> None:
    site.sell()
    site.live(online=True, commandable=False)
    assert site.code()["order_no"] == 1


def test_nothing_is_asked_of_a_point_that_does_not_exist(site: Site) -> None:
    assert refusal(site.desk.post(f"/supply-points/{new_id()}/site-code", {}, role=Role.CASHIER)) == (
        404,
        "no-such-supply-point",
    )
    assert refusal(site.desk.get(f"/supply-points/{new_id()}/site-codes")) == (404, "no-such-supply-point")


def test_rounds_and_limit_are_given_back_as_commands_on_their_way_say(site: Site) -> None:
    site.does(site.order(Op.TRIP, round=1))
    site.tells(rounds="01------", limit_w=300_000)
    site.sell()
    site.order(Op.CLOSE, round=1, manner="allow")
    site.order(Op.LIMIT, power_w=None, alarm_delay_min=0)
    given = site.code()
    assert site.typed(given) == SiteCode(order_no=1, paid_until_wh=PAID_WH, release_rounds=True, lift_limit=True)


def test_a_round_that_nobody_gives_back_keeps_all_tripped(site: Site) -> None:
    site.does(site.order(Op.TRIP, round=1))
    site.does(site.order(Op.TRIP, round=2))
    site.tells(rounds="00------")
    site.sell()
    site.order(Op.CLOSE, round=1, manner="allow")
    assert site.typed(site.code()) == SiteCode(order_no=1, paid_until_wh=PAID_WH)


def test_a_code_that_gives_back_more_is_another_order_and_the_old_one_does_no_harm(site: Site) -> None:
    site.does(site.order(Op.TRIP, round=1))
    site.tells(rounds="01------")
    sold = site.sell()
    plain = site.code()
    site.order(Op.CLOSE, round=1, manner="allow")
    whole = site.code()
    assert site.typed(whole) == SiteCode(order_no=2, paid_until_wh=PAID_WH, release_rounds=True)
    # The customer may have typed the first one meanwhile, or type it after the second.
    assert site.typed(whole, order_no=1, paid_until_wh=PAID_WH).order_no == 2
    assert site.typed(plain, order_no=2, paid_until_wh=PAID_WH).order_no == 1
    assert site.command(sold["command_id"])["state"] == "superseded"
    assert site.desk.get(f"/purchases/{sold['purchase_no']}").json()["site_code"]["order_no"] == 2
    assert site.code() == whole
    site.books_hold()


def test_a_code_that_is_to_undo_a_later_cut_goes_under_a_later_order(site: Site) -> None:
    site.sell()
    site.does(site.order(Op.TRIP, round=1))
    site.tells(rounds="01------")
    site.order(Op.CLOSE, round=1, manner="allow")
    assert site.typed(site.code()) == SiteCode(order_no=2, paid_until_wh=PAID_WH, release_rounds=True)
    assert site.code()["order_no"] == 2


def nothing_against(_session: Session, _command: Command, _now: datetime) -> list[dict[str, Any]]:
    return []


def dispatched(site: Site, against: Callable[..., list[dict[str, Any]]] = nothing_against) -> Outbox:
    outbox = Outbox()
    Dispatcher(
        site.desk.database.engine, clock=later(2), signer=SIGNER, publish=outbox, reasons_against=against
    ).run_once()
    return outbox


def test_a_cut_tells_the_last_order_that_was_given_out(site: Site) -> None:
    site.sell()
    site.sell()
    site.tells(online=True, order_no=2, paid_until_wh=2 * PAID_WH, supplied_wh=1)
    site.order(Op.TRIP, round=1, alarm_delay_min=0, limit_min=0)
    (cut,) = [one for one in dispatched(site).claims if one.op == "trip"]
    assert cut.last_order_no == 2


@pytest.mark.parametrize("has_code", [True, False])
def test_a_credit_that_takes_back_what_a_code_may_bring_at_any_time_is_looked_at(
    site: Site, *, has_code: bool
) -> None:
    sold = site.sell()
    if has_code:
        site.code()
    body = {"purchase_no": sold["purchase_no"], "kind": "refund", "energy_wh": 15_000_000, "reason": "winter"}
    assert site.desk.post("/refunds", body, role=Role.CASHIER).status_code == 201
    # Hours later: a credit that had left by the line could not arrive any more.
    with transaction(site.desk.database.engine) as session:
        session.execute(
            text("UPDATE commands SET ended_at = ended_at - interval '5 hours' WHERE ended_at IS NOT NULL")
        )
    site.tells(online=True)
    asked: list[str] = []

    def against(_session: Session, command: Command, _now: datetime) -> list[dict[str, Any]]:
        asked.append(command.op)
        return []

    dispatched(site, against)
    assert asked == (["credit"] if has_code else [])


def test_a_terminal_is_given_the_same_key_at_registration_exchange_and_when_asked_again(
    desk: Desk, secret_file: Path
) -> None:
    with transaction(desk.database.engine) as session:
        point = str(a_contract(session, contract_no=CONTRACT).supply_point_id)
    rounds = [{"round": 1, "feeds_zh": "空调", "feeds_en": "air", "importance": 1, "load_w": 1}]
    device = {"terminal_id": TERMINAL, "meter_no": "M1", "safe_load_w": 0, "rounds": rounds}
    registered = desk.post("/terminals", {**device, "supply_point_id": point}, role=Role.OPERATOR).json()
    assert registered["site_key"] == key_text(SECRET.key_of(TERMINAL))
    assert desk.get(f"/terminals/{TERMINAL}").json()["has_site_key"]
    moved = {**device, "terminal_id": OTHER, "old_final_wh": 0, "new_start_wh": 0, "reason": "broken"}
    path = f"/supply-points/{point}/terminal-exchange"
    first, again = (desk.post(path, moved, role=Role.OPERATOR, key="k-1") for _ in range(2))
    key = key_text(SECRET.key_of(OTHER))
    assert first.json()["registered"]["site_key"] == key
    assert (first.content, again.headers["idempotent-replayed"]) == (again.content, "true")
    with desk.database.engine.connect() as connection:
        kept = connection.execute(text("SELECT body FROM idempotency_keys")).scalars().all()
    assert all(key.encode() not in body for body in kept)
    asked = desk.post(f"/terminals/{OTHER}/site-key", {}, role=Role.ADMINISTRATOR)
    assert (asked.headers["cache-control"], asked.json()) == ("no-store", {"terminal_id": OTHER, "site_key": key})
    assert refusal(desk.post(f"/terminals/{TERMINAL}/site-key", {}, role=Role.OPERATOR)) == (409, "retired")
    assert refusal(desk.post("/terminals/NOBODY/site-key", {}, role=Role.OPERATOR)) == (404, "no-such-terminal")
    # With another secret a retry shows no key that the terminal's row does not stand for.
    secret_file.write_text(bytes(32).hex())
    assert desk.post(path, moved, role=Role.OPERATOR, key="k-1").json()["registered"]["site_key"] is None
    assert desk.post(f"/terminals/{OTHER}/site-key", {}, role=Role.OPERATOR).json()["site_key"] != key


def test_a_code_of_before_an_exchange_is_not_for_the_new_terminal(site: Site) -> None:
    site.sell()
    before = site.code()
    with transaction(site.desk.database.engine) as session:
        person = session.query(StaffMember).first()
        assert person is not None
        now = datetime.now(UTC) + timedelta(seconds=1)
        an_exchange(session, supply_point_id=site.point, by=person.id, now=now, old_final_wh=0, terminal_id=OTHER)
    assert refusal(site.ask()) == (409, "not-commissioned")
    assert before["terminal_id"] == TERMINAL
    assert site.desk.get(f"/supply-points/{site.point}").json()["site_code"] is None
    site.books_hold()


@pytest.mark.parametrize(("file", "registers"), [(None, 201), ("nowhere", 409)])
def test_without_a_secret_no_code_is_made_and_one_that_is_lost_lets_no_terminal_go_out_without_a_key(
    database: Database, tmp_path: Path, file: str | None, registers: int
) -> None:
    signing = tmp_path / "signing.pem"
    signing.write_bytes(new_private_key_pem())
    with transaction(database.engine) as session:
        point = str(a_contract(session).supply_point_id)
    rounds = [{"round": 1, "feeds_zh": "空调", "feeds_en": "air", "importance": 1, "load_w": 1}]
    device = {"terminal_id": TERMINAL, "meter_no": "M1", "safe_load_w": 0, "rounds": rounds}
    with a_desk(database, signing_key_file=signing, site_secret_file=tmp_path / file if file else None) as desk:
        registered = desk.post("/terminals", {**device, "supply_point_id": point}, role=Role.OPERATOR)
        assert (registered.status_code, registered.json().get("site_key")) == (registers, None)
        missing = (409, "site-secret-missing")
        assert refusal(desk.post(f"/supply-points/{point}/site-code", {}, role=Role.CASHIER)) == missing
        assert refusal(desk.post(f"/terminals/{TERMINAL}/site-key", {}, role=Role.OPERATOR)) == missing
