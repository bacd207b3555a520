"""Reports and events under one sequence, kept until the service has said that they are stored."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from app.mqtt.messages import RESEND_AFTER_S, Message, Receipt, SpoolRange, encode
from simulators.memory import Memory

#: Reports older than this go as back-fill.
FRESH_FOR = timedelta(minutes=5)
#: So many entries are sent again before a receipt must come.
WINDOW = 256
_JOURNAL_SLACK = 16


@dataclass(frozen=True, slots=True)
class Entry:
    seq: int
    kind: str
    at: datetime
    payload: bytes


class Spool:
    """The sequence, its journal in non-volatile memory, and what still has to be sent again."""

    def __init__(self, memory: Memory, *, capacity: int) -> None:
        self._memory = memory
        self._capacity = capacity
        self._entries: dict[int, Entry] = {}
        self._journal_lines = 0
        self._queue: Iterator[int] = iter(())
        self._queued = False
        self._resent: set[int] = set()
        self._progress_s = 0.0
        self.last = 0
        self.id = self._restore()
        self._compact()

    @property
    def range(self) -> SpoolRange:
        return SpoolRange(id=self.id, first=next(iter(self._entries), 0), last=self.last)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, kind: str, *, at: datetime, machine_s: float, message: Callable[[UUID, int], Message]) -> Entry:
        """Give a message the next number and keep it; a full spool drops its oldest."""
        if not self._entries:
            self._progress_s = machine_s
        self.last += 1
        entry = Entry(self.last, kind, at, encode(message(self.id, self.last)))
        self._entries[entry.seq] = entry
        if len(self._entries) > self._capacity:
            del self._entries[next(iter(self._entries))]
        self._write(_line_of(entry))
        return entry

    def cover(self, receipt: Receipt, *, machine_s: float) -> None:
        """Forget what a receipt covers; one for another spool changes nothing."""
        if receipt.spool_id != self.id:
            return
        covered = [seq for seq in self._entries if _covers(receipt, seq=seq)]
        for seq in covered:
            del self._entries[seq]
            self._resent.discard(seq)
        if covered:
            self._progress_s = machine_s
            self._memory.note_receipted(json.dumps({"spool_id": str(self.id), "receipted": covered}).encode())
            self._write(json.dumps({"covered": covered}).encode())

    def send_all_again(self, *, reading: datetime, machine_s: float) -> None:
        """Queue all that has no receipt: what is fresh as it came, then old reports newest first."""
        entries = list(self._entries.values())
        old = [entry.seq for entry in reversed(entries) if _is_old(entry, reading=reading)]
        fresh = [entry.seq for entry in entries if not _is_old(entry, reading=reading)]
        self._queue = iter(fresh + old)
        self._queued = bool(entries)
        self._resent.clear()
        self._progress_s = machine_s

    def due_again(self, *, reading: datetime) -> Iterator[tuple[str, bytes]]:
        """Yield the kind and payload of what may be sent again now, as far as the window allows."""
        while self._queued and len(self._resent) < WINDOW:
            seq = next(self._queue, None)
            if seq is None:
                self._queued = False
                return
            if (entry := self._entries.get(seq)) is not None:
                self._resent.add(seq)
                yield _kind_now(entry, reading=reading), entry.payload

    def between(self, first: int, last: int, *, reading: datetime) -> list[tuple[str, bytes]]:
        """Return what is still kept of a range, oldest first."""
        return [
            (_kind_now(entry, reading=reading), entry.payload)
            for entry in self._entries.values()
            if first <= entry.seq <= last
        ]

    def resend_due_s(self) -> float | None:
        """Return the machine second at which lack of progress makes all be sent again."""
        return self._progress_s + RESEND_AFTER_S if self._entries else None

    def _restore(self) -> UUID:
        spool_id: UUID | None = None
        for line in self._memory.read_journal():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # the line that the power loss tore
            if "id" in record:
                spool_id = UUID(record["id"])
                self.last = record["last"]
            elif "covered" in record:
                for seq in record["covered"]:
                    self._entries.pop(seq, None)
            else:
                self._restore_entry(record)
        return spool_id or uuid7()

    def _restore_entry(self, record: dict[str, str | int]) -> None:
        entry = Entry(
            int(record["seq"]),
            str(record["kind"]),
            datetime.fromisoformat(str(record["at"])),
            str(record["payload"]).encode(),
        )
        self._entries[entry.seq] = entry
        self.last = max(self.last, entry.seq)
        if len(self._entries) > self._capacity:
            del self._entries[next(iter(self._entries))]

    def _write(self, line: bytes) -> None:
        self._journal_lines += 1
        if self._journal_lines > 2 * len(self._entries) + _JOURNAL_SLACK:
            self._compact()
        else:
            self._memory.append_journal(line)

    def _compact(self) -> None:
        head = json.dumps({"id": str(self.id), "last": self.last}).encode()
        self._memory.replace_journal([head, *map(_line_of, self._entries.values())])
        self._journal_lines = len(self._entries) + 1


def _line_of(entry: Entry) -> bytes:
    return json.dumps(
        {
            "seq": entry.seq,
            "kind": entry.kind,
            "at": entry.at.isoformat(),
            "payload": entry.payload.decode(),
        }
    ).encode()


def _covers(receipt: Receipt, *, seq: int) -> bool:
    return seq <= receipt.upto and not any(first <= seq <= last for first, last in receipt.missing)


def _is_old(entry: Entry, *, reading: datetime) -> bool:
    return entry.kind == "report" and reading - entry.at > FRESH_FOR


def _kind_now(entry: Entry, *, reading: datetime) -> str:
    return "backfill" if _is_old(entry, reading=reading) else entry.kind
