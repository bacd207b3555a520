"""How a simulated terminal changes the keys that it trusts, and what a thief with a signing key cannot do."""

from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.mqtt.keys import KeyStatement, ListedKey, listed, sign_statement
from app.mqtt.messages import CommandClaims, Step
from app.mqtt.signing import CommandSigner, public_pem
from simulators.workbench import ARMED, DELAYING, EXECUTED, KEY_ID, RECEIVED, STARTS_AT, Workbench, refused, signer

ANCHOR = Ed25519PrivateKey.from_private_bytes(bytes(32))
OLD = signer()
NEW = CommandSigner(Ed25519PrivateKey.from_private_bytes(b"n" * 32), key_id="new")
THIEF = CommandSigner(Ed25519PrivateKey.from_private_bytes(b"t" * 32), key_id="thief")
CREDIT: dict[str, Any] = {"mode": "append", "value_wh": 1000, "alarm_wh": 0, "trip_wh": 0}
#: What somebody who has stolen a key would count up to, so that nobody else's version is higher.
HIGHEST = 2**62


@pytest.fixture
def bench() -> Workbench:
    bench = Workbench(anchor_public_key_pem=public_pem(ANCHOR.public_key()))
    bench.connect()
    return bench


def statement(serial: int, *signers: CommandSigner, anchor: Ed25519PrivateKey = ANCHOR) -> str:
    keys = [ListedKey(kid=one.key_id, public_key=listed(one.public_key)) for one in signers]
    return sign_statement(KeyStatement(serial=serial, issued_at=STARTS_AT, keys=keys), anchor)


def give(bench: Workbench, claims: CommandClaims, *, by: CommandSigner) -> UUID:
    bench.receive("command", by.sign(claims))
    bench.step()
    return claims.id


def state_keys(bench: Workbench, serial: int, *signers: CommandSigner, by: CommandSigner, **members: Any) -> UUID:
    return give(bench, bench.claims("keys", statement=statement(serial, *signers), **members), by=by)


def buy(bench: Workbench, *, by: CommandSigner, order_no: int) -> UUID:
    claims = bench.claims("credit", order_no=order_no, paid_until_wh=1_000 * order_no, **CREDIT)
    return give(bench, claims, by=by)


def trusted(bench: Workbench) -> tuple[int, list[str]]:
    bench.lose()
    bench.clear()
    bench.connect()
    told = bench.of("birth")[0].keys
    return told.serial, told.kids


def test_before_the_first_statement_what_was_pinned_is_trusted() -> None:
    bench = Workbench(service_keys={"new": NEW.public_key_pem()}, keys_serial=4)
    assert trusted(bench) == (4, ["new", KEY_ID])
    assert bench.answers(buy(bench, by=NEW, order_no=1)) == [RECEIVED, EXECUTED]


def test_a_change_goes_over_both_keys_to_the_new_one_and_survives_power_loss(bench: Workbench) -> None:
    assert bench.answers(buy(bench, by=NEW, order_no=1)) == [refused("BAD_SIGNATURE")]
    assert bench.answers(state_keys(bench, 1, OLD, NEW, by=OLD)) == [RECEIVED, EXECUTED]
    assert bench.of("ack")[-1].detail.keys.kids == ["new", KEY_ID]
    for order_no, by in enumerate((OLD, NEW), start=1):
        assert bench.answers(buy(bench, by=by, order_no=order_no)) == [RECEIVED, EXECUTED]
    state_keys(bench, 2, NEW, by=NEW)
    bench.terminal.power_off(bench.now)
    bench.terminal.power_on(bench.now)
    assert trusted(bench) == (2, ["new"])
    assert bench.answers(buy(bench, by=OLD, order_no=3)) == [refused("BAD_SIGNATURE")]
    assert bench.of("ack")[-1].detail.keys.kids == ["new"]
    assert bench.answers(buy(bench, by=NEW, order_no=3)) == [RECEIVED, EXECUTED]


def test_a_terminal_that_was_away_for_the_whole_change_is_let_in_by_the_statement(bench: Workbench) -> None:
    assert bench.answers(state_keys(bench, 2, NEW, by=NEW)) == [RECEIVED, EXECUTED]
    assert trusted(bench) == (2, ["new"])


@pytest.mark.parametrize("serial", [1, 2])
def test_a_statement_that_is_not_newer_changes_nothing(bench: Workbench, serial: int) -> None:
    state_keys(bench, 2, NEW, by=OLD)
    assert bench.answers(state_keys(bench, serial, OLD, NEW, by=NEW)) == [refused("DUPLICATE")]
    assert bench.answers(state_keys(bench, serial, OLD, NEW, by=OLD)) == [refused("BAD_SIGNATURE")]
    assert trusted(bench) == (2, ["new"])


def test_a_new_terminal_takes_no_statement_from_before_its_registration() -> None:
    keys = {"service_key_id": "new", "service_public_key_pem": NEW.public_key_pem(), "keys_serial": 2}
    bench = Workbench(anchor_public_key_pem=public_pem(ANCHOR.public_key()), **keys)
    bench.connect()
    assert bench.answers(state_keys(bench, 1, OLD, NEW, by=OLD)) == [refused("BAD_SIGNATURE")]
    assert bench.answers(state_keys(bench, 2, OLD, NEW, by=NEW)) == [refused("DUPLICATE")]


def test_a_stolen_key_can_neither_add_a_key_nor_keep_itself_in(bench: Workbench) -> None:
    forged = statement(9, OLD, THIEF, anchor=Ed25519PrivateKey.generate())
    assert bench.answers(give(bench, bench.claims("keys", statement=forged), by=OLD)) == [refused("PRECONDITION")]
    assert bench.answers(give(bench, bench.claims("keys", statement=forged), by=THIEF)) == [refused("BAD_SIGNATURE")]
    own = statement(9, OLD, THIEF, anchor=OLD._private_key)  # noqa: SLF001 - the thief has it
    assert bench.answers(give(bench, bench.claims("keys", statement=own), by=OLD)) == [refused("PRECONDITION")]
    state_keys(bench, 1, NEW, by=OLD, version=HIGHEST)
    assert trusted(bench) == (1, ["new"])
    assert bench.answers(state_keys(bench, 2, NEW, by=NEW)) == [RECEIVED, EXECUTED]


def test_versions_of_a_thief_end_with_the_key(bench: Workbench) -> None:
    limit = bench.claims("limit", power_w=None, version=HIGHEST)
    warning = bench.claims("warn", stage="warning", text={"zh": "警", "en": "w"})
    give(bench, limit, by=OLD)
    state_keys(bench, 1, OLD, NEW, by=OLD)
    give(bench, warning, by=NEW)
    refusals = bench.answers(give(bench, bench.claims("limit", power_w=None), by=NEW))
    assert refusals == [refused("SUPERSEDED")]
    state_keys(bench, 2, NEW, by=NEW)
    assert bench.answers(give(bench, bench.claims("limit", power_w=None), by=NEW)) == [RECEIVED, EXECUTED]
    older = bench.claims("warn", stage="warning", text={"zh": "警", "en": "w"}, version=warning.version)
    assert bench.answers(give(bench, older, by=NEW)) == [refused("SUPERSEDED")]


def test_a_cut_that_waits_is_dropped_with_the_key_that_ordered_it(bench: Workbench) -> None:
    bench.receive("command", NEW.sign(bench.claims("keys", statement=statement(1, OLD, NEW))))
    bench.step()
    claims = bench.claims("trip", step=Step.ARM, round=1, alarm_delay_min=5)
    bench.send(claims)
    bench.send(bench.operate(claims))
    state_keys(bench, 2, NEW, by=NEW)
    assert bench.answers(claims.id) == [RECEIVED, ARMED, DELAYING, refused("BAD_SIGNATURE")]
    bench.live(minutes=10)
    assert bench.terminal.state.rounds == "11------"


@pytest.mark.parametrize("text", ["", "a.b.c", "7"])
def test_what_is_no_statement_is_refused(bench: Workbench, text: str) -> None:
    assert bench.answers(give(bench, bench.claims("keys", statement=text), by=OLD)) == [refused("PRECONDITION")]
    assert bench.answers(give(bench, bench.claims("keys", statement=text), by=THIEF)) == [refused("BAD_SIGNATURE")]


def test_without_an_anchor_keys_never_change() -> None:
    bench = Workbench()
    bench.connect()
    assert bench.answers(state_keys(bench, 1, NEW, by=OLD)) == [refused("UNSUPPORTED")]
    assert bench.answers(state_keys(bench, 1, NEW, by=NEW)) == [refused("BAD_SIGNATURE")]


def test_a_statement_meant_for_another_terminal_opens_no_door(bench: Workbench) -> None:
    claims = bench.claims("keys", statement=statement(1, NEW)).model_copy(update={"terminal_id": "SH-0002"})
    assert bench.answers(give(bench, claims, by=NEW)) == [refused("NOT_FOR_ME")]
    assert bench.answers(buy(bench, by=NEW, order_no=1)) == [refused("BAD_SIGNATURE")]
