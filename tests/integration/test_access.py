"""Sign-ins end when they are ended, guessing is limited, and keys do what they were made for and no more."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from databases import Database
from desk import Desk, a_desk
from people import PASSWORD
from running import running, settings_for
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.clock import Clock, monotonic_s, sleep
from app.database import new_id, transaction
from app.main import create_app
from app.roles import Role

TOKEN = "/api/v1/auth/token"
ME = "/api/v1/auth/me"
CASHIER = f"{Role.CASHIER.value}.one"
CHIEF = f"{Role.ADMINISTRATOR.value}.one"
WRONG = "wrong horse"
CLIENT = {"name": "bank", "name_zh": "银行", "name_en": "Bank", "roles": ["cashier", "auditor"]}


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    with a_desk(database, staff=Role) as opened:
        yield opened


def signed_in(http: httpx.Client, *, name: str = CASHIER, password: str = PASSWORD) -> dict[str, str]:
    answer = http.post(TOKEN, data={"username": name, "password": password}, headers={"User-Agent": "till/1" * 90})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def status(http: httpx.Client, headers: dict[str, str]) -> int:
    return http.get(ME, headers=headers).status_code


def change(desk: Desk, path: str, body: dict[str, Any] | None = None, *, role: Role = Role.ADMINISTRATOR) -> Any:
    return desk.post(path, body or {}, role=role)


def id_of(desk: Desk, name: str) -> str:
    with desk.database.engine.connect() as connection:
        found = connection.scalar(text("SELECT id FROM staff_members WHERE sign_in_name = :name"), {"name": name})
    return str(found)


def attempts(desk: Desk) -> list[tuple[str, str]]:
    with desk.database.engine.connect() as connection:
        rows = connection.execute(text("SELECT name, outcome FROM sign_in_attempts ORDER BY id"))
        return [(row.name, row.outcome) for row in rows]


def test_a_sign_out_bites_at_once_and_ends_this_sign_in_only(desk: Desk) -> None:
    here, there = signed_in(desk.http), signed_in(desk.http)
    shown = desk.http.get("/api/v1/auth/sign-ins", headers=here).json()["items"]
    assert [each["current"] for each in shown] == [False, True]
    assert (shown[0]["address"], len(shown[0]["client"])) == ("127.0.0.1", 200)
    assert desk.http.post("/api/v1/auth/sign-out", headers=here).json() == {"ended": 1}
    refused = desk.http.get(ME, headers=here)
    assert (refused.status_code, refused.json()["detail"]) == (401, "this sign-in has ended")
    assert status(desk.http, there) == 200
    assert len(desk.http.get("/api/v1/auth/sign-ins", headers=there).json()["items"]) == 1


def test_another_process_hears_of_an_end_within_seconds(desk: Desk) -> None:
    with running(create_app(desk.settings, engine=desk.database.engine)) as other:
        headers = signed_in(desk.http)
        assert status(other, headers) == 200
        desk.http.post("/api/v1/auth/sign-out", headers=headers)
        deadline_s = monotonic_s() + 8
        while status(other, headers) == 200 and monotonic_s() < deadline_s:
            sleep(0.1)
        assert status(other, headers) == 401


def test_an_administrator_ends_the_sign_ins_of_a_person_who_may_come_again(desk: Desk) -> None:
    here, there = signed_in(desk.http), signed_in(desk.http)
    path = f"/staff/{id_of(desk, CASHIER)}/end-sign-ins"
    assert change(desk, path, role=Role.CASHIER).status_code == 403
    assert change(desk, path).json() == {"ended": 2}
    assert (status(desk.http, here), status(desk.http, there)) == (401, 401)
    assert status(desk.http, signed_in(desk.http)) == 200
    assert change(desk, f"/staff/{new_id()}/end-sign-ins").status_code == 404


def test_a_forgotten_password_is_reset_by_an_administrator_and_shown_once(desk: Desk) -> None:
    headers = signed_in(desk.http)
    path = f"/staff/{id_of(desk, CASHIER)}/password"
    assert change(desk, path, role=Role.AUDITOR).status_code == 403
    reset = change(desk, path)
    assert (reset.status_code, reset.json()["ended"]) == (200, 1)
    password = reset.json()["password"]
    assert re.fullmatch(r"[a-z2-9]{4}(-[a-z2-9]{4}){3}", password)
    assert status(desk.http, headers) == 401
    assert desk.http.post(TOKEN, data={"username": CASHIER, "password": PASSWORD}).status_code == 401
    assert status(desk.http, signed_in(desk.http, password=password)) == 200
    assert change(desk, path).json()["password"] != password
    told = desk.get("/audit", action="person.password_reset")
    assert [(one["actor"], one["subject"]) for one in told.json()["items"]] == [(CHIEF, CASHIER)] * 2
    assert password not in told.text


def test_whoever_forgot_the_password_and_used_up_the_failures_signs_in_with_the_reset_one(desk: Desk) -> None:
    wrong = {"username": CASHIER, "password": WRONG}
    assert [desk.http.post(TOKEN, data=wrong).status_code for _ in range(6)] == [401] * 5 + [429]
    path = f"/staff/{id_of(desk, CASHIER)}/password"
    password = change(desk, path).json()["password"]
    # What failed after the reset counts as always.
    assert [desk.http.post(TOKEN, data=wrong).status_code for _ in range(6)] == [401] * 5 + [429]
    password = change(desk, path).json()["password"]
    assert status(desk.http, signed_in(desk.http, password=password)) == 200


def test_nobody_resets_their_own_password_or_that_of_a_client(desk: Desk) -> None:
    own = change(desk, f"/staff/{id_of(desk, CHIEF)}/password")
    assert (own.status_code, own.json()["type"]) == (409, "/problems/own-password-reset")
    client_id, _ = a_client(desk)
    of_client = change(desk, f"/staff/{client_id}/password")
    assert (of_client.status_code, of_client.json()["type"]) == (409, "/problems/is-no-person")
    assert change(desk, f"/staff/{new_id()}/password").status_code == 404


def test_who_leaves_is_out_at_once_until_they_return(desk: Desk) -> None:
    headers = signed_in(desk.http)
    person = f"/staff/{id_of(desk, CASHIER)}"
    assert change(desk, f"{person}/leave").json()["active"] is False
    assert status(desk.http, headers) == 401
    again = desk.http.post(TOKEN, data={"username": CASHIER, "password": PASSWORD})
    assert again.status_code == 401
    assert change(desk, f"{person}/return").json()["active"] is True
    assert status(desk.http, signed_in(desk.http)) == 200
    assert status(desk.http, headers) == 401


def test_other_roles_need_another_sign_in(desk: Desk) -> None:
    headers = signed_in(desk.http)
    path = f"/staff/{id_of(desk, CASHIER)}/roles"
    assert change(desk, path, {"roles": ["cashier"]}).status_code == 200
    assert status(desk.http, headers) == 200
    assert change(desk, path, {"roles": ["auditor", "cashier"]}).json()["roles"] == ["auditor", "cashier"]
    assert status(desk.http, headers) == 401
    assert desk.http.get("/api/v1/staff", headers=signed_in(desk.http)).status_code == 200
    assert change(desk, path, {"roles": ["king"]}).status_code == 422


@pytest.mark.parametrize(("step", "body"), [("leave", {}), ("roles", {"roles": ["cashier"]})])
def test_the_last_administrator_stays(desk: Desk, step: str, body: dict[str, Any]) -> None:
    answer = change(desk, f"/staff/{id_of(desk, CHIEF)}/{step}", body)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/last-administrator")
    change(desk, f"/staff/{id_of(desk, CASHIER)}/roles", {"roles": ["administrator"]})
    assert change(desk, f"/staff/{id_of(desk, CHIEF)}/{step}", body).status_code == 200


def test_two_administrators_cannot_take_each_other_away(desk: Desk) -> None:
    change(desk, f"/staff/{id_of(desk, CASHIER)}/roles", {"roles": ["administrator"]})
    ids = [id_of(desk, CHIEF), id_of(desk, CASHIER)]
    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(lambda one: change(desk, f"/staff/{one}/leave").status_code, ids))
    assert sorted(answers) == [200, 409]


def test_a_new_password_ends_the_other_sign_ins(desk: Desk) -> None:
    here, there = signed_in(desk.http), signed_in(desk.http)
    wanted = {"old_password": PASSWORD, "new_password": "another horse"}
    wrong = desk.http.post("/api/v1/auth/password", json=wanted | {"old_password": "x"}, headers=here)
    assert (wrong.status_code, wrong.json()["type"]) == (409, "/problems/password-wrong")
    assert desk.http.post("/api/v1/auth/password", json=wanted, headers=here).json() == {"ended": 1}
    assert (status(desk.http, here), status(desk.http, there)) == (200, 401)
    assert desk.http.post(TOKEN, data={"username": CASHIER, "password": PASSWORD}).status_code == 401
    assert status(desk.http, signed_in(desk.http, password="another horse")) == 200


def test_guessing_the_old_password_is_limited_too(desk: Desk) -> None:
    headers = signed_in(desk.http)
    wanted = {"old_password": "x", "new_password": "another horse"}
    found = [desk.http.post("/api/v1/auth/password", json=wanted, headers=headers).status_code for _ in range(6)]
    assert found == [409] * 5 + [429]


@pytest.mark.parametrize("name", [CASHIER, "nobody"])
def test_five_failures_close_the_door_for_a_name_whoever_it_is(
    desk: Desk, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for _ in range(5):
        assert desk.http.post(TOKEN, data={"username": name, "password": "wrong horse"}).status_code == 401
    refused = desk.http.post(TOKEN, data={"username": f" {name.upper()} ", "password": PASSWORD})
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-attempts")
    assert 890 <= int(refused.headers["retry-after"]) <= 900
    assert attempts(desk) == [(name, "refused")] * 5
    assert status(desk.http, signed_in(desk.http, name=CHIEF)) == 200
    logged = capsys.readouterr().out
    assert logged.count("outcome=") == 7
    assert "too many attempts" in logged
    assert "horse" not in logged


def test_the_door_opens_when_the_first_failure_is_old_enough(desk: Desk) -> None:
    for _ in range(5):
        desk.http.post(TOKEN, data={"username": CASHIER, "password": "x"})
    _shift_attempts(desk, by=timedelta(minutes=15))
    assert status(desk.http, signed_in(desk.http)) == 200


def test_a_success_forgives_a_name_its_failures(desk: Desk) -> None:
    for _ in range(2):
        for _ in range(4):
            desk.http.post(TOKEN, data={"username": CASHIER, "password": "x"})
        signed_in(desk.http)
    assert [outcome for _, outcome in attempts(desk)].count("refused") == 8


def try_name(desk: Desk, name: str, password: str = WRONG) -> httpx.Response:
    return desk.http.post(TOKEN, data={"username": name, "password": password})


@pytest.fixture
def annoyed(desk: Desk) -> Desk:
    """A desk that the cashier knows and from whose address 30 sign-ins have just failed."""
    signed_in(desk.http)
    for number in range(30):
        assert try_name(desk, f"name{number}").status_code == 401
    return desk


def test_an_address_with_many_failures_is_slowed_and_not_locked(annoyed: Desk) -> None:
    refused = try_name(annoyed, CHIEF, PASSWORD)
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-attempts")
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    _shift_attempts(annoyed, by=timedelta(seconds=30))
    assert try_name(annoyed, "name30").status_code == 401
    assert try_name(annoyed, CHIEF, PASSWORD).status_code == 429
    _shift_attempts(annoyed, by=timedelta(seconds=30))
    assert status(annoyed.http, signed_in(annoyed.http, name=CHIEF)) == 200
    assert try_name(annoyed, CHIEF, PASSWORD).status_code == 200


def test_who_is_known_at_an_address_is_held_up_by_their_own_failures_only(annoyed: Desk) -> None:
    for _ in range(3):
        assert status(annoyed.http, signed_in(annoyed.http)) == 200
    for _ in range(5):
        assert try_name(annoyed, CASHIER).status_code == 401
    assert try_name(annoyed, CASHIER, PASSWORD).status_code == 429


def test_who_is_known_elsewhere_or_from_long_ago_is_not_known_here(annoyed: Desk) -> None:
    with transaction(annoyed.database.engine) as session:
        session.execute(text("""
            INSERT INTO sign_in_attempts (id, name, address, at, outcome)
            VALUES (gen_random_uuid(), :chief, '192.0.2.1', now(), 'right'),
                   (gen_random_uuid(), :chief, '127.0.0.1', now() - INTERVAL '31 days', 'right')
        """), {"chief": CHIEF})  # fmt: skip
    assert try_name(annoyed, CHIEF, PASSWORD).status_code == 429


def test_guesses_for_many_names_from_a_slowed_address_do_not_pass_together(annoyed: Desk) -> None:
    _shift_attempts(annoyed, by=timedelta(seconds=30))
    with ThreadPoolExecutor(8) as crowd:
        found = list(crowd.map(lambda number: try_name(annoyed, f"other{number}").status_code, range(8)))
    assert sorted(found) == [401] + [429] * 7


def test_guesses_that_come_together_do_not_pass_together(desk: Desk) -> None:
    def guess(_number: int) -> int:
        return desk.http.post(TOKEN, data={"username": CASHIER, "password": "x"}).status_code

    with ThreadPoolExecutor(12) as crowd:
        found = list(crowd.map(guess, range(12)))
    assert sorted(found) == [401] * 5 + [429] * 7


def a_client(desk: Desk, **key: Any) -> tuple[str, dict[str, Any]]:
    """Take a client in and give it a key; returns the client's id and the key as it is shown once."""
    with desk.database.engine.connect() as connection:
        code = connection.scalar(text("SELECT min(code) FROM offices"))
    taken_in = change(desk, "/clients", CLIENT | {"office_code": code})
    assert taken_in.status_code == 201, taken_in.text
    assert taken_in.json()["kind"] == "client"
    made = change(desk, f"/clients/{taken_in.json()['id']}/keys", {"label": "one", "scopes": ["cashier"]} | key)
    assert made.status_code == 201, made.text
    return taken_in.json()["id"], made.json()


def with_key(made: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {made['key']}"}


def test_a_key_works_within_its_scopes_and_is_shown_once(desk: Desk) -> None:
    client_id, made = a_client(desk)
    assert re.fullmatch(r"wgk_[0-9a-f]{32}_[A-Za-z0-9_-]{43}", made["key"])
    me = desk.http.get(ME, headers=with_key(made))
    assert (me.status_code, me.json()["id"]) == (200, client_id)
    assert desk.http.get("/api/v1/staff", headers=with_key(made)).status_code == 403
    assert desk.http.post("/api/v1/auth/sign-out", headers=with_key(made)).status_code == 403
    listed = desk.get(f"/clients/{client_id}/keys")
    assert [each["id"] for each in listed.json()["items"]] == [made["id"]]
    assert made["key"][40:] not in listed.text
    with desk.database.engine.connect() as connection:
        kept = str(connection.execute(text("SELECT * FROM api_keys")).all())
    assert made["key"][40:] not in kept


def test_a_revoked_key_is_refused_at_once(desk: Desk) -> None:
    _, made = a_client(desk)
    first = change(desk, f"/keys/{made['id']}/revoke").json()
    assert first["revoked_at"] is not None
    assert status(desk.http, with_key(made)) == 401
    assert change(desk, f"/keys/{made['id']}/revoke").json() == first
    assert change(desk, f"/keys/{new_id()}/revoke").status_code == 404


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
        lambda key: key[:-1],
        lambda _key: f"wgk_{new_id().hex}_" + "A" * 43,
        lambda _key: "wgk_",
        lambda _key: "wgk_" + "z" * 32 + "_x",
    ],
)
def test_a_key_of_another_make_is_refused(desk: Desk, spoil: Any) -> None:
    _, made = a_client(desk)
    assert status(desk.http, {"Authorization": f"Bearer {spoil(made['key'])}"}) == 401


def test_a_key_ends_by_itself(desk: Desk) -> None:
    ends = Clock().now() + timedelta(seconds=4)
    _, made = a_client(desk, expires_at=ends.isoformat())
    assert status(desk.http, with_key(made)) == 200
    sleep(max((ends - Clock().now()).total_seconds(), 0) + 0.01)
    assert status(desk.http, with_key(made)) == 401


@pytest.mark.parametrize(("networks", "expected"), [(["127.0.0.0/8", "::1"], 200), (["10.0.0.0/8"], 401)])
def test_a_key_is_good_from_its_networks_only(desk: Desk, networks: list[str], expected: int) -> None:
    _, made = a_client(desk, networks=networks)
    assert status(desk.http, with_key(made)) == expected


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ({"scopes": ["operator"]}, "scopes-unusable"),
        ({"networks": ["10.1.2.3/8"]}, "network-unusable"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expiry-unusable"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "expiry-unusable"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expiry-unusable"),
    ],
)
def test_a_key_that_could_not_be_used_rightly_is_not_made(desk: Desk, key: dict[str, Any], problem: str) -> None:
    client_id, _ = a_client(desk)
    answer = change(desk, f"/clients/{client_id}/keys", {"label": "x", "scopes": ["cashier"]} | key)
    assert (answer.status_code, answer.json()["type"]) == (409, f"/problems/{problem}")


def test_a_client_that_leaves_takes_its_keys_along(desk: Desk) -> None:
    client_id, made = a_client(desk)
    change(desk, f"/staff/{client_id}/leave")
    assert status(desk.http, with_key(made)) == 401
    refused = change(desk, f"/clients/{client_id}/keys", {"label": "x", "scopes": ["cashier"]})
    assert refused.json()["type"] == "/problems/client-inactive"
    change(desk, f"/staff/{client_id}/return")
    assert status(desk.http, with_key(made)) == 401


def test_a_key_loses_what_its_client_loses_and_a_client_never_administers(desk: Desk) -> None:
    client_id, made = a_client(desk, scopes=["cashier", "auditor"])
    assert desk.http.get("/api/v1/staff", headers=with_key(made)).status_code == 200
    assert change(desk, f"/staff/{client_id}/roles", {"roles": ["cashier"]}).status_code == 200
    assert desk.http.get("/api/v1/staff", headers=with_key(made)).status_code == 403
    crowned = change(desk, f"/staff/{client_id}/roles", {"roles": ["administrator"]})
    assert crowned.json()["type"] == "/problems/client-roles-unusable"
    assert change(desk, "/clients", CLIENT | {"office_code": "x", "roles": ["administrator"]}).status_code == 409


def test_people_have_no_keys_and_clients_no_passwords(desk: Desk) -> None:
    a_client(desk)
    refused = change(desk, f"/clients/{id_of(desk, CASHIER)}/keys", {"label": "x", "scopes": ["cashier"]})
    assert refused.json()["type"] == "/problems/is-no-client"
    assert desk.get(f"/clients/{id_of(desk, CASHIER)}/keys").json()["type"] == "/problems/is-no-client"
    assert desk.http.post(TOKEN, data={"username": "bank", "password": PASSWORD}).status_code == 401


def test_the_use_of_a_key_is_noted_when_the_service_ends_at_the_latest(database: Database) -> None:
    with a_desk(database, staff=Role) as desk:
        _, made = a_client(desk)
        assert status(desk.http, with_key(made)) == 200
    with database.engine.connect() as connection:
        used_at = connection.scalar(text("SELECT last_used_at FROM api_keys"))
    assert used_at is not None
    assert Clock().now() - used_at < timedelta(minutes=1)


def test_nobody_is_let_in_while_it_is_not_known_who_has_left(database: Database) -> None:
    nowhere = settings_for("postgresql+psycopg://nobody@/nothing?host=/no/such/folder")
    with a_desk(database, staff=Role) as desk, running(create_app(nowhere, engine=database.engine)) as blind:
        answer = blind.get(ME, headers=desk.headers[Role.CASHIER])
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/standing-unknown")
        assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sign_ins SET expires_at = now() + interval '1 year'",
        "UPDATE sign_in_attempts SET at = now() - interval '1 day'",
        "UPDATE api_keys SET scopes = '{administrator}'",
        "DELETE FROM sign_in_attempts",
    ],
)
def test_the_application_cannot_rewrite_what_it_wrote(database: Database, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), transaction(database.engine) as session:
        session.execute(text(statement))


def _shift_attempts(desk: Desk, *, by: timedelta) -> None:
    """Let attempts lie further back, as the owner, who may do what the application may not."""
    url = desk.database.owner_url.replace("postgresql+psycopg:", "postgresql:")
    with psycopg.connect(url) as owner:
        owner.execute("UPDATE sign_in_attempts SET at = at - %s", (by,))
