"""What stands against a key statement, and what a new terminal is given to pin."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.key_changes.rules import KeyDiffers, Last, LockedOut, SerialNotHigher, Stated, check
from app.mqtt.keys import (
    BadStatementError,
    KeyStatement,
    ListedKey,
    ServiceKeys,
    listed,
    listed_key,
    read_statement,
    sign_statement,
)
from app.mqtt.signing import CommandSigner, public_pem
from app.terminals.rules import KeyNotStated, to_pin

AT = datetime(2026, 3, 1, tzinfo=UTC)
OWN = {"old": "o", "new": "n"}
ANCHOR = Ed25519PrivateKey.generate()
OLD, NEW = (CommandSigner(Ed25519PrivateKey.generate(), key_id=key_id) for key_id in ("old", "new"))


def stated(serial: int, keys: Mapping[str, str], *, text: str = "") -> Stated:
    return Stated(serial=serial, issued_at=AT, keys=keys, text=text or f"statement {serial}")


@pytest.mark.parametrize("keys", [OWN, {"new": "n"}, {"new": "n", "next": "x"}])
def test_a_statement_that_lists_the_key_that_signs_is_new(keys: dict[str, str]) -> None:
    assert check(stated(1, keys), last=None, own=OWN, key_id="new")
    assert check(stated(3, keys), last=Last(serial=2, text="statement 2"), own=OWN, key_id="new")


def test_the_last_statement_again_is_not_new_and_another_of_its_serial_is_refused() -> None:
    last = Last(serial=2, text="statement 2")
    assert not check(stated(2, OWN), last=last, own=OWN, key_id="new")
    for serial, text in ((2, "another"), (1, "statement 1")):
        with pytest.raises(SerialNotHigher, match="2 is recorded") as refusal:
            check(stated(serial, OWN, text=text), last=last, own=OWN, key_id="new")
        assert "3 or more" in refusal.value.remedy


@pytest.mark.parametrize(
    ("keys", "says"), [({"x": "x"}, "None of the service's own"), ({"old": "o"}, "The key that")]
)
def test_a_statement_that_would_lock_the_service_out_is_refused(keys: dict[str, str], says: str) -> None:
    with pytest.raises(LockedOut, match=says) as refusal:
        check(stated(1, keys), last=None, own=OWN, key_id="new")
    assert "WATTGATE_SIGNING_KEY_FILE" in refusal.value.remedy


def test_another_key_under_the_services_id_is_refused() -> None:
    with pytest.raises(KeyDiffers, match="'old'"):
        check(stated(1, {"new": "n", "old": "x"}), last=None, own=OWN, key_id="new")


def test_a_new_terminal_pins_no_key_that_the_last_statement_dropped() -> None:
    first = to_pin(OWN, key_id="new", anchor_pem="a", serial=0, stated=None)
    assert (first.keys, first.kept) == (OWN, {"serial": 0, "kids": ["new", "old"]})
    later = to_pin(OWN, key_id="new", anchor_pem="a", serial=3, stated=frozenset({"new", "x"}))
    assert (later.keys, later.serial) == ({"new": "n"}, 3)
    with pytest.raises(KeyNotStated, match="3 does not list 'new'"):
        to_pin(OWN, key_id="new", anchor_pem="a", serial=3, stated=frozenset({"x"}))


def test_each_terminal_gets_the_key_that_it_trusts() -> None:
    keys = ServiceKeys(NEW, OLD, ANCHOR.public_key())
    assert keys.signer_for(["old"]) is keys.signer_for(None) is OLD
    assert keys.signer_for(["new"]) is keys.signer_for(["new", "old"]) is keys.signer_for(["gone"]) is NEW
    assert ServiceKeys(NEW).signer_for(["old"]) is ServiceKeys(NEW).signer_for(None) is NEW
    assert keys.public == {"new": listed(NEW.public_key), "old": listed(OLD.public_key)}
    assert (keys.anchor_pem, ServiceKeys(NEW).anchor_pem) == (public_pem(ANCHOR.public_key()), None)


def a_statement(*keys: tuple[str, str]) -> KeyStatement:
    return KeyStatement(serial=1, issued_at=AT, keys=[ListedKey(kid=kid, public_key=key) for kid, key in keys])


def test_a_statement_is_read_as_it_was_signed() -> None:
    whole = a_statement(("old", listed(OLD.public_key)), ("new", listed(NEW.public_key)))
    assert read_statement(sign_statement(whole, ANCHOR), ANCHOR.public_key()) == whole
    assert listed(listed_key(listed(OLD.public_key))) == listed(OLD.public_key)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ([("old", listed(OLD.public_key)), ("old", listed(NEW.public_key))], "twice"),
        ([("old", listed(OLD.public_key)), ("new", listed(OLD.public_key))], "twice"),
        ([("old", listed(ANCHOR.public_key()))], "the anchor is listed"),
    ],
)
def test_a_list_that_is_no_list_of_signing_keys_is_refused(keys: list[tuple[str, str]], says: str) -> None:
    with pytest.raises(BadStatementError, match=says):
        read_statement(sign_statement(a_statement(*keys), ANCHOR), ANCHOR.public_key())


def test_a_statement_of_another_anchor_or_of_another_type_is_refused() -> None:
    whole = a_statement(("old", listed(OLD.public_key)))
    with pytest.raises(BadStatementError, match="not signed by the anchor"):
        read_statement(sign_statement(whole, Ed25519PrivateKey.generate()), ANCHOR.public_key())
    with pytest.raises(BadStatementError, match="not signed by the anchor"):
        read_statement("a.b.c", ANCHOR.public_key())
