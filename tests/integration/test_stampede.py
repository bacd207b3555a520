"""Many cashiers at once, from processes of their own: one key sells once, and the books stay whole."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from databases import Database
from desk import API, a_desk
from factories import a_contract, a_terminal

from app.database import new_id, transaction
from app.roles import Role
from app.verification import INVARIANTS, find_broken

PROCESSES = 20
SALES = 200
ACCOUNTS = 5

# A till of its own: it knows the address, the token and the key that it saved, and prints what it was answered.
TILL = """
import http.client, json, sys
host, path, token, key, body = json.load(sys.stdin)
link = http.client.HTTPConnection(host, timeout=60)
link.request("POST", path, body, {"Authorization": token, "Idempotency-Key": key, "Content-Type": "application/json"})
answer = link.getresponse()
print(json.dumps([answer.status, answer.read().hex()]))
"""


def till(arguments: list[str]) -> tuple[int, bytes]:
    done = subprocess.run(
        [sys.executable, "-c", TILL], input=json.dumps(arguments), capture_output=True, text=True, check=True
    )
    status, body = json.loads(done.stdout)
    return status, bytes.fromhex(body)


def test_twenty_processes_with_one_key_make_one_purchase_and_read_equal_bytes(database: Database) -> None:
    with transaction(database.engine) as session:
        contract = a_contract(session, contract_no="HT-1")
        a_terminal(session, supply_point_id=contract.supply_point_id)
    with a_desk(database) as desk:
        body = json.dumps({"contract_no": "HT-1", "amount_yuan": "50000.00"})
        token = desk.headers[Role.CASHIER]["Authorization"]
        same = [desk.http.base_url.netloc.decode(), f"{API}/purchases", token, "the-only-key", body]
        with ThreadPoolExecutor(PROCESSES) as tills:
            answers = list(tills.map(till, [same] * PROCESSES))
        assert {status for status, _ in answers} == {201}
        assert len({body for _, body in answers}) == 1
        assert desk.count("purchases") == 1
        assert desk.count("commands") == 1


@pytest.mark.no_cover
def test_two_hundred_sales_at_once_on_five_accounts_leave_the_books_whole(database: Database) -> None:
    with transaction(database.engine) as session:
        for number in range(ACCOUNTS):
            contract = a_contract(session, contract_no=f"HT-{number}")
            a_terminal(session, supply_point_id=contract.supply_point_id)
    with a_desk(database) as desk:

        def sell(number: int) -> int:
            body = {"contract_no": f"HT-{number % ACCOUNTS}", "amount_yuan": f"{100 + number}.07"}
            return desk.post("/purchases", body, role=Role.CASHIER, key=str(new_id())).status_code

        with ThreadPoolExecutor(16) as cashiers:
            statuses = list(cashiers.map(sell, range(SALES)))
        assert statuses == [201] * SALES
        assert desk.count("purchases") == SALES
    with transaction(database.engine) as session:
        assert {one.name: find_broken(session, one) for one in INVARIANTS} == {one.name: [] for one in INVARIANTS}
