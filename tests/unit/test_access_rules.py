"""How often one may guess, and what a key, a client and the last administrator may be."""

from datetime import UTC, datetime, timedelta

import pytest

from app.access.rules import (
    LONGEST_KEY,
    ClientRolesUnusable,
    ExpiryUnusable,
    LastAdministrator,
    NetworkUnusable,
    OwnPasswordReset,
    ScopesUnusable,
    check_administrator_remains,
    check_client_roles,
    check_expiry,
    check_resets_another,
    check_scopes,
    locked_until,
    network_of,
    slowed_until,
)
from app.roles import Role

EIGHT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def test_the_door_closes_with_the_last_failure_allowed_until_the_first_is_old() -> None:
    failed_at = [EIGHT + timedelta(minutes=minute) for minute in (4, 3, 2, 1, 0)]
    assert locked_until(failed_at, limit=5, window=QUARTER) == EIGHT + QUARTER
    assert locked_until(failed_at[1:], limit=5, window=QUARTER) is None
    assert locked_until(failed_at, limit=1, window=QUARTER) == EIGHT + timedelta(minutes=19)


def test_an_address_is_slowed_until_its_first_failure_is_old() -> None:
    failed_at = [EIGHT + timedelta(minutes=minute) for minute in (4, 3, 2, 1, 0)]
    slow = timedelta(seconds=30)
    assert slowed_until(failed_at, limit=5, window=QUARTER, slow=slow) == EIGHT + timedelta(minutes=4, seconds=30)
    assert slowed_until(failed_at[1:], limit=5, window=QUARTER, slow=slow) is None
    late = [EIGHT + timedelta(minutes=14, seconds=50), *failed_at[1:]]
    assert slowed_until(late, limit=5, window=QUARTER, slow=slow) == EIGHT + QUARTER


def test_one_resets_the_password_of_another_only() -> None:
    check_resets_another("b", by="a")
    with pytest.raises(OwnPasswordReset):
        check_resets_another("a", by="a")


def test_a_key_may_do_a_part_of_what_its_client_may() -> None:
    check_scopes({Role.AUDITOR}, roles=["auditor", "cashier"])
    with pytest.raises(ScopesUnusable, match="roles approver, operator"):
        check_scopes({Role.OPERATOR, Role.APPROVER, Role.CASHIER}, roles=["cashier"])


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.APPROVER])
def test_a_client_neither_administers_nor_approves(role: Role) -> None:
    check_client_roles(set(Role) - {Role.ADMINISTRATOR, Role.APPROVER})
    with pytest.raises(ClientRolesUnusable):
        check_client_roles({Role.CASHIER, role})


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("10.1.0.0/16", "10.1.0.0/16"), (" 10.1.2.3 ", "10.1.2.3/32"), ("2001:DB8::/32", "2001:db8::/32")],
)
def test_a_network_is_kept_in_one_form(typed: str, kept: str) -> None:
    assert network_of(typed) == kept


@pytest.mark.parametrize("typed", ["10.1.2.3/16", "10.1.0.0/33", "everywhere", ""])
def test_what_is_no_network_is_refused(typed: str) -> None:
    with pytest.raises(NetworkUnusable):
        network_of(typed)


def test_a_key_ends_in_the_future_or_never() -> None:
    check_expiry(None, now=EIGHT)
    check_expiry(EIGHT + timedelta(microseconds=1), now=EIGHT)
    check_expiry(EIGHT + LONGEST_KEY, now=EIGHT)
    for unusable in (EIGHT, EIGHT + LONGEST_KEY + timedelta(seconds=1), datetime.max.replace(tzinfo=UTC)):
        with pytest.raises(ExpiryUnusable, match="has passed or is more than ten years away"):
            check_expiry(unusable, now=EIGHT)


def test_one_administrator_must_remain() -> None:
    check_administrator_remains(["a", "b"], without="a")
    check_administrator_remains(["a"], without="b")
    check_administrator_remains([], without="b")
    with pytest.raises(LastAdministrator):
        check_administrator_remains(["a"], without="a")
