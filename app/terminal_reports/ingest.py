"""MQTT in: parses what terminals tell, gathers it into batches, and answers once it is committed."""

import queue
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from app.clock import Clock, monotonic_s, sleep
from app.commands.rules import AckStep
from app.commands.service import Answer
from app.database import in_transaction, sqlstate
from app.load_control.service import Pace
from app.mqtt import messages, topics
from app.mqtt.messages import UnreadableError
from app.terminal_reports import service
from app.terminal_reports.rules import Batch, EventRow, Heard, ReportRow, Seen, Unreadable
from app.terminal_reports.service import GAPS_NAMED, Receipt, Recorded
from app.terminals import presence

log = structlog.get_logger()

RECEIVED = Counter("wattgate_messages_received_total", "Messages from terminals", ["kind"])
COMMITTED = Counter("wattgate_messages_committed_total", "Messages from terminals whose batch is committed")
SETTLED = Counter(
    "wattgate_messages_settled_total",
    "Messages from terminals by what became of them: stored, repeated, noted, quarantined",
    ["kind", "outcome"],
)
DROPPED = Counter("wattgate_messages_dropped_total", "Messages not taken because the queue was full")
BATCH_SECONDS = Histogram("wattgate_batch_seconds", "Time to record a batch")
BATCH_MESSAGES = Histogram(
    "wattgate_batch_messages", "Messages recorded together", buckets=(1, 3, 10, 30, 100, 300, 600, 1000)
)
WAITING = Gauge("wattgate_ingest_queue", "Messages that wait to be recorded")
LAG = Gauge("wattgate_ingest_lag_seconds", "Age of the oldest message that is not recorded yet; 0 when there is none")
OWED = Gauge("wattgate_receipts_owed", "Terminals whose receipt is due and not sent yet")

_BATCH_MESSAGES = 1000
_BATCH_S = 0.05
_QUEUE_MESSAGES = 20_000
_QUEUE_FULL_S = 5.0
_RECEIPT_EVERY_S = 1.0
_GAPS_ASKED_FOR = 4
#: PostgreSQL has met a limit of its own with what it was given; trying again would end the same way for ever.
_LIMIT_MET = "54"
#: We were asleep inside a transaction, and PostgreSQL has ended it.
_IDLE_TOO_LONG = "25P03"
_NO_KIND = "none"

T = TypeVar("T")
Frame = tuple[str, bytes]
Publish = Callable[[str, bytes], object]
#: Names those of some terminals for which another worker records, and keeps it so until the transaction ends.
NotOurs = Callable[[Session, Collection[str]], set[str]]


@dataclass
class _Owed:
    receipt: Receipt
    due_s: float


class Ingest:
    """One thread that records; the network thread only puts frames into its bounded queue."""

    def __init__(
        self,
        engine: Engine,
        *,
        pace: Pace,
        publish: Publish,
        not_ours: NotOurs = lambda _session, _terminal_ids: set(),
    ) -> None:
        self._engine = engine
        self._not_ours = not_ours
        self._pace = pace
        self._publish = publish
        self._frames: queue.Queue[tuple[Frame, float]] = queue.Queue(maxsize=_QUEUE_MESSAGES)
        self._oldest_s = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self._owed: dict[tuple[str, UUID], _Owed] = {}
        self._last_receipt_s: dict[str, float] = {}
        self._recording = False
        LAG.set_function(self.lag_s)
        OWED.set_function(lambda: len(self._owed))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Record what is queued, then end."""
        self._stopping.set()
        self._thread.join(timeout=30)

    def put(self, topic: str, payload: bytes, *, heard_s: float | None = None) -> None:
        """Take a frame, heard now unless it is said when; a full queue makes the broker wait, and then drops.

        A dropped report is no loss: without a receipt the terminal sends it again.
        """
        try:
            self._frames.put(((topic, payload), heard_s or monotonic_s()), timeout=_QUEUE_FULL_S)
        except queue.Full:
            DROPPED.inc()

    def _run(self) -> None:
        while not (self._stopping.is_set() and self._frames.empty()):
            frames = self._gather()
            self._recording = bool(frames)
            WAITING.set(self._frames.qsize())
            try:
                if frames:
                    self._record(frames)
                self._pay_receipts()
            except Exception:
                # The thread must outlive whatever this was: without receipts the terminals send it all again.
                log.exception("a batch was given up", messages=len(frames))
            self._recording = False

    def lag_s(self) -> float:
        """Return how old the oldest message is that is being recorded; 0 when there is none."""
        return monotonic_s() - self._oldest_s if self._recording else 0.0

    def _gather(self) -> list[Frame]:
        try:
            first, self._oldest_s = self._frames.get(timeout=0.2 if not self._owed else 0.05)
        except queue.Empty:
            return []
        frames = [first]
        until_s = monotonic_s() + _BATCH_S
        while len(frames) < _BATCH_MESSAGES:
            try:
                frame, heard_s = self._frames.get(timeout=max(until_s - monotonic_s(), 0))
            except queue.Empty:
                break
            frames.append(frame)
            self._oldest_s = min(self._oldest_s, heard_s)
        return frames

    def _record(self, frames: list[Frame]) -> None:
        """Record frames whole; wait out a database that is away, and take a batch apart that cannot be recorded.

        Whatever a message brings about, it must not take those beside it along: they would all be sent again,
        together, for ever.
        """
        batch = read_batch(frames)
        try:
            recorded = self._patiently(partial(self._write, batch), messages=len(frames))
        except Exception as error:  # noqa: BLE001 - by halves it is found which message it was
            log.warning("a batch could not be recorded", messages=len(frames), error=_said(error))
            self._take_apart(frames, reason=_said(error))
            return
        if recorded is not None:
            COMMITTED.inc(len(frames))
            BATCH_MESSAGES.observe(len(frames))
            settle(recorded.outcomes, batch.unreadable)
            self._answer(recorded)

    def _write(self, batch: Batch) -> Recorded:
        with BATCH_SECONDS.time():
            now = self._pace.clock.now()
            heard_at = now - self._pace.clock.lived(monotonic_s() - self._oldest_s)
            return in_transaction(self._engine, self._record_ours, batch, now=now, heard_at=heard_at)

    def _record_ours(self, session: Session, batch: Batch, *, now: datetime, heard_at: datetime) -> Recorded:
        """Record a batch less what is another worker's by now: we may have been asleep since it was heard."""
        foreign = self._not_ours(session, batch.terminal_ids())
        ours = batch.without(foreign) if foreign else batch
        return service.record(session, ours, pace=self._pace, now=now, heard_at=heard_at)

    def _patiently(self, work: Callable[[], T], *, messages: int) -> T | None:
        """Do it once the database is there; None when the end comes before that."""
        while True:
            try:
                return work()
            except DBAPIError as error:
                state = sqlstate(error) or ""
                away = isinstance(error, OperationalError) or error.connection_invalidated or state == _IDLE_TOO_LONG
                if not away or state.startswith(_LIMIT_MET):
                    raise
                log.warning("the database is away; the batch waits", messages=messages, error=str(error.orig))
                if self._stopping.is_set():
                    return None
                sleep(0.5)

    def _take_apart(self, frames: list[Frame], *, reason: str) -> None:
        if len(frames) > 1:
            middle = len(frames) // 2
            self._record(frames[:middle])
            self._record(frames[middle:])
            return
        topic, payload = frames[0]
        poison = Unreadable(
            _storable(topic), payload[: topics.MAX_PAYLOAD_BYTES], f"it could not be recorded: {reason[:300]}"
        )
        if self._patiently(partial(self._put_aside, poison), messages=1):
            COMMITTED.inc()
            settle({}, [poison])

    def _put_aside(self, poison: Unreadable) -> bool:
        in_transaction(self._engine, service.quarantine, [poison], now=self._pace.clock.now())
        return True

    def _answer(self, recorded: Recorded) -> None:
        for one in recorded.changed:
            log.info(
                "command changed", command_id=one.command_id, terminal_id=one.terminal_id, op=one.op, state=one.state
            )
        for terminal_id, challenge in recorded.challenges.items():
            sent = messages.ClockChallenge(at=self._pace.clock.now(), challenge=challenge)
            self._tell(terminal_id, "clock", messages.encode(sent))
            self._tell(terminal_id, "request", messages.encode(messages.Request(want="state")))
        for receipt in recorded.receipts:
            due_s = self._last_receipt_s.get(receipt.terminal_id, 0.0) + _RECEIPT_EVERY_S
            self._owed[receipt.terminal_id, receipt.spool_id] = _Owed(receipt, due_s)

    def _pay_receipts(self) -> None:
        """Send the receipts that are due: merged, at most one a terminal and second."""
        now_s = monotonic_s()
        for key in [key for key, owed in self._owed.items() if owed.due_s <= now_s]:
            receipt = in_one_message(self._owed.pop(key).receipt)
            message = messages.Receipt(
                spool_id=receipt.spool_id, upto=receipt.upto, missing=[list(gap) for gap in receipt.missing]
            )
            self._last_receipt_s[receipt.terminal_id] = now_s
            self._tell(receipt.terminal_id, "receipt", messages.encode(message))
            self._ask_again(receipt)

    def _ask_again(self, receipt: Receipt) -> None:
        """Ask for what never arrived, as after an outage of ours; by itself a terminal would wait a minute."""
        for low, high in receipt.missing[:_GAPS_ASKED_FOR]:
            wanted = messages.Request(want="resend", from_seq=low, to_seq=high)
            self._tell(receipt.terminal_id, "request", messages.encode(wanted))

    def _tell(self, terminal_id: str, kind: str, payload: bytes) -> None:
        try:
            self._publish(topics.down(terminal_id, kind), payload)
        except Exception as error:  # noqa: BLE001 - an answer that is lost is asked for again by the terminal
            log.info("not sent", terminal_id=terminal_id, kind=kind, error=repr(error))


def send_clocks(engine: Engine, *, clock: Clock, publish: Publish) -> int:
    """Tell every terminal on line the time, with the challenge that it knows; returns how many were told."""
    known = in_transaction(engine, presence.challenges)
    for terminal_id, challenge in known.items():
        message = messages.ClockChallenge(at=clock.now(), challenge=challenge)
        try:
            publish(topics.down(terminal_id, "clock"), messages.encode(message))
        except Exception as error:  # noqa: BLE001 - the next day brings the next clock
            log.info("not sent", terminal_id=terminal_id, kind="clock", error=repr(error))
    return len(known)


def in_one_message(receipt: Receipt) -> Receipt:
    """Cut a receipt with very many gaps short before the first gap that has no room: it never covers a lost one."""
    if len(receipt.missing) <= GAPS_NAMED:
        return receipt
    first_left_out = receipt.missing[GAPS_NAMED][0]
    return receipt._replace(upto=first_left_out - 1, missing=receipt.missing[:GAPS_NAMED])


def settle(outcomes: Mapping[tuple[str, str], int], unreadable: Iterable[Unreadable]) -> None:
    """Count what became of committed messages."""
    for (kind, outcome), number in outcomes.items():
        SETTLED.labels(kind, outcome).inc(number)
    for one in unreadable:
        SETTLED.labels(_kind_of(one.topic), "quarantined").inc()


def _kind_of(topic: str) -> str:
    try:
        return topics.parse_up(topic).kind
    except ValueError:
        return _NO_KIND


def _said(error: Exception) -> str:
    return str(getattr(error, "orig", None) or repr(error))


def _storable(topic: str) -> str:
    """Write a topic of any bytes as PostgreSQL can hold it."""
    return topic[:300].encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def read_batch(frames: list[Frame]) -> Batch:
    """Parse frames in the order in which they came; what cannot be read goes beside, with the reason."""
    batch = Batch()
    for topic, payload in frames:
        try:
            terminal_id, kind = topics.parse_up(topic)
            RECEIVED.labels(kind).inc()
            _READERS[kind](batch, terminal_id, messages.parse_up(kind, payload))
            batch.heard.append(Heard(kind, terminal_id, topic, payload))
        except (UnreadableError, ValueError) as error:
            kept = payload[: topics.MAX_PAYLOAD_BYTES]
            batch.unreadable.append(Unreadable(_storable(topic), kept, str(error)))
    return batch


def _read_report(batch: Batch, terminal_id: str, told: messages.Report, *, backfilled: bool = False) -> None:
    batch.reports.append(
        ReportRow(
            terminal_id,
            told.spool_id,
            told.seq,
            told.at,
            backfilled,
            told.clock,
            told.supplied_wh,
            told.active_power_w,
            told.state.model_dump(mode="json"),
            told.model_dump_json(exclude={"spool_id", "seq", "at"}),
        )
    )


def _read_backfill(batch: Batch, terminal_id: str, told: messages.Report) -> None:
    _read_report(batch, terminal_id, told, backfilled=True)


def _read_event(batch: Batch, terminal_id: str, told: messages.Event) -> None:
    detail = told.detail.model_dump_json(exclude_none=True)
    batch.events.append(EventRow(terminal_id, told.spool_id, told.seq, told.at, told.type, detail))


def _read_birth(batch: Batch, terminal_id: str, told: messages.Birth) -> None:
    batch.seen.append(
        Seen(
            terminal_id,
            told.session,
            told.at,
            told.uptime_s,
            told.clock,
            told.state.model_dump(mode="json"),
            boot=told.boot,
            firmware=told.firmware,
            spool=(told.spool.id, told.spool.first),
            results={str(one.command_id): (AckStep(one.step), one.code) for one in told.results},
            keys_told=told.keys.model_dump(mode="json") if told.keys else None,
        )
    )
    batch.deaths.discard((terminal_id, told.session))


def _read_heartbeat(batch: Batch, terminal_id: str, told: messages.Heartbeat) -> None:
    batch.seen.append(
        Seen(
            terminal_id,
            told.session,
            told.at,
            told.uptime_s,
            told.clock,
            told.state.model_dump(mode="json"),
            active_power_w=told.active_power_w,
            echo=told.echo,
        )
    )


def _read_death(batch: Batch, terminal_id: str, told: messages.Death) -> None:
    batch.deaths.add((terminal_id, told.session))


def _read_ack(batch: Batch, terminal_id: str, told: messages.Ack) -> None:
    if told.command_id is None:
        raise UnreadableError(f"the terminal could not read a command: {told.code}")
    batch.answers.append(
        Answer(
            terminal_id=terminal_id,
            command_id=told.command_id,
            step=AckStep(told.step),
            code=told.code,
            at=told.at,
            detail=told.detail.model_dump(exclude_none=True),
        )
    )


_READERS: dict[str, Callable[[Batch, str, Any], None]] = {
    "birth": _read_birth,
    "death": _read_death,
    "heartbeat": _read_heartbeat,
    "report": _read_report,
    "backfill": _read_backfill,
    "event": _read_event,
    "ack": _read_ack,
}
