"""How terminals are dealt out to workers."""

from uuid import UUID

import pytest

from app.workers.rules import SHARES, Alive, share_of, shares_wanted

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


def test_a_terminal_has_the_same_share_everywhere_and_forever() -> None:
    assert share_of("SH-0001") == 24
    assert {share_of(f"SH-{number:04}") for number in range(1000)} == set(range(SHARES))


@pytest.mark.parametrize("number", [1, 2, 3, 5, 64, 70])
def test_all_shares_are_dealt_out_and_nearly_equally(number: int) -> None:
    alive = [Alive(UUID(int=one), hears=True) for one in range(number)]
    wanted = [shares_wanted(one.id, alive) for one in alive]
    assert sum(wanted) == SHARES
    assert max(wanted) - min(wanted) <= 1


def test_who_hears_nothing_holds_nothing_while_another_hears() -> None:
    alive = [Alive(A, hears=True), Alive(B, hears=False)]
    assert (shares_wanted(A, alive), shares_wanted(B, alive)) == (SHARES, 0)


def test_where_nobody_hears_all_hold_their_part() -> None:
    alive = [Alive(A, hears=False), Alive(B, hears=False), Alive(C, hears=False)]
    assert [shares_wanted(one.id, alive) for one in alive] == [22, 21, 21]
