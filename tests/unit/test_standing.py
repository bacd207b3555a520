"""What was read is relied on for a while; what is too old refuses everybody."""

from collections.abc import Collection
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError

from app.clock import monotonic_s, sleep
from app.database import new_id
from app.http.refusals import NotSignedIn, StandingUnknown
from app.http.standing import Reading, WatchedStanding


class Readings:
    """A database that can be away."""

    def __init__(self) -> None:
        self.ended: set[UUID] = set()
        self.away = False
        self.asked = 0

    def read(self) -> Reading:
        self.asked += 1
        if self.away:
            raise OperationalError("SELECT", {}, Exception("gone"))
        return Reading(ended=frozenset(self.ended))

    def note_used(self, key_ids: Collection[UUID]) -> None:
        raise AssertionError(key_ids)


def test_nobody_passes_before_the_first_reading() -> None:
    standing = WatchedStanding(read=Readings().read, note_used=Readings().note_used)
    with pytest.raises(StandingUnknown):
        standing.refuse_ended(new_id())
    with pytest.raises(StandingUnknown):
        standing.person_of_key(f"wgk_{new_id().hex}_x", address="127.0.0.1")


def test_an_end_is_known_after_the_next_reading() -> None:
    database, sign_in = Readings(), new_id()
    standing = WatchedStanding(read=database.read, note_used=database.note_used)
    standing.read_again()
    standing.refuse_ended(sign_in)
    database.ended.add(sign_in)
    standing.refuse_ended(sign_in)
    standing.read_again()
    with pytest.raises(NotSignedIn, match="has ended"):
        standing.refuse_ended(sign_in)


def test_the_last_reading_holds_for_a_while_and_the_next_one_mends_all(capsys: pytest.CaptureFixture[str]) -> None:
    database, ended, running = Readings(), new_id(), new_id()
    database.ended.add(ended)
    standing = WatchedStanding(read=database.read, note_used=database.note_used, good_for_s=1.0)
    standing.read_again()
    database.away = True
    for _ in range(3):
        standing.read_again()
    standing.refuse_ended(running)
    with pytest.raises(NotSignedIn):
        standing.refuse_ended(ended)
    sleep(1.05)
    with pytest.raises(StandingUnknown):
        standing.refuse_ended(running)
    database.away = False
    standing.read_again()
    standing.refuse_ended(running)
    assert capsys.readouterr().out.count("cannot read who is in good standing") == 1


def test_a_thread_reads_until_it_is_stopped() -> None:
    database = Readings()
    standing = WatchedStanding(read=database.read, note_used=database.note_used)
    standing.start()
    deadline_s = monotonic_s() + 8
    while database.asked < 2 and monotonic_s() < deadline_s:
        sleep(0.05)
    standing.stop()
    asked = database.asked
    assert asked >= 2
    sleep(1.1)
    assert database.asked == asked
