"""Many terminals in one thread: one selector, one heap of due times, one MQTT client a terminal."""

import heapq
import itertools
import logging
import queue
import random
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Self

from simulators.admission import Door
from simulators.device_clock import Instant
from simulators.faults import Fault
from simulators.keypad import Typed
from simulators.link import Link
from simulators.memory import FileMemory, Memory, VolatileMemory
from simulators.profile import FleetProfile
from simulators.terminal import Terminal

_log = logging.getLogger("simulators")

#: How long a caller waits until the loop has taken what it asked for.
TAKEN_WITHIN_S = 30
_IDLE_AT_MOST_S = 0.5
_REST_AFTER_ERROR_S = 5


class Fleet:
    """Terminals as a profile describes them.

    `start` runs the loop in a thread of its own; every other method may be called from any thread.
    A fleet runs once: after `stop` or `kill` make a new one, which finds the memories where they are files.
    """

    def __init__(self, profile: FleetProfile) -> None:
        self.profile = profile
        self._asked: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = socket.socketpair()
        self._watched: dict[Link, tuple[Any, int]] = {}
        self._due: list[tuple[float, int, Link]] = []
        self._planned_s: dict[Link, float] = {}
        self._order = itertools.count()
        self._orderly: bool | None = None
        self._thread = threading.Thread(target=self._run, name="simulators", daemon=True)
        self._door: Door[Link] = Door(places=profile.connecting_at_most)
        now = profile.clock.now()
        self._links = {
            terminal.terminal_id: Link(
                terminal,
                fleet=profile,
                door=self._door,
                memory=self._memory_of(terminal.terminal_id),
                now=now,
                connect_s=now.machine_s + (number + random.random()) / profile.connects_per_s,
            )
            for number, terminal in enumerate(profile.terminals)
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def online(self) -> int:
        """How many terminals have told their birth on the present connection."""
        return sum(link.terminal.online for link in self._links.values())

    @property
    def published(self) -> int:
        """How many messages went up."""
        return sum(link.published for link in self._links.values())

    @property
    def received(self) -> int:
        """How many frames came down."""
        return sum(link.received for link in self._links.values())

    def start(self) -> None:
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, None)
        now = self.profile.clock.now()
        for link in self._links.values():
            self._plan(link, now=now)
        self._thread.start()

    def stop(self) -> None:
        """Disconnect every terminal in good order and end the loop; harmless when it has ended."""
        self._end(orderly=True)

    def kill(self) -> None:
        """Drop every socket without DISCONNECT, so that the last wills are published, and end the loop."""
        self._end(orderly=False)

    def terminal(self, terminal_id: str) -> Terminal:
        """Return a terminal to look at; it goes on living in the loop's thread.

        Raises:
            KeyError: no such terminal.
        """
        return self._links[terminal_id].terminal

    def do(self, terminal_id: str, fault: Fault) -> None:
        """Let a terminal suffer a fault; returns when it has begun.

        Raises:
            KeyError: no such terminal.
        """
        link = self._links[terminal_id]

        def suffer() -> None:
            link.suffer(fault, now=self.profile.clock.now())
            self._settle(link)

        self._ask(suffer)

    def type_code(self, terminal_id: str, digits: str) -> Typed | None:
        """Type a site code at a terminal's keypad; returns what its display says, None where it is dark.

        Raises:
            KeyError: no such terminal.
        """
        link = self._links[terminal_id]
        said: list[Typed | None] = []

        def type_it() -> None:
            said.append(link.type_code(digits, now=self.profile.clock.now()))
            self._settle(link)

        self._ask(type_it)
        return said[0]

    def report(self, terminal_ids: Iterable[str] | None = None) -> None:
        """Let terminals, or all, report now; returns when the reports are written to their sockets."""
        links = [self._links[name] for name in (self._links if terminal_ids is None else terminal_ids)]

        def report() -> None:
            for link in links:
                link.report(self.profile.clock.now())
                self._settle(link)

        self._ask(report)

    def wait_online(self, count: int | None = None, *, timeout_s: float = 30) -> None:
        """Wait until so many terminals, or all, are online.

        Raises:
            TimeoutError: they are not.
        """
        wanted = len(self._links) if count is None else count
        end_s = time.monotonic() + timeout_s
        while self.online < wanted:
            if time.monotonic() > end_s:
                raise TimeoutError(f"{self.online} of {wanted} terminals are online after {timeout_s} s")
            time.sleep(0.02)

    def _memory_of(self, terminal_id: str) -> Memory:
        directory = self.profile.memory_dir
        if directory is None:
            return VolatileMemory()
        return FileMemory(
            directory,
            terminal_id=terminal_id,
            keep_receipted=self.profile.keep_receipted,
            keep_witnessed=self.profile.keep_witnessed,
        )

    def _ask(self, act: Callable[[], None]) -> None:
        if not self._thread.is_alive():
            raise RuntimeError("the fleet is not running")
        done: Future[None] = Future()

        def run() -> None:
            try:
                act()
                done.set_result(None)
            except Exception as error:  # noqa: BLE001 - it belongs to the caller, not to the loop
                done.set_exception(error)

        self._asked.put(run)
        self._wake()
        done.result(TAKEN_WITHIN_S)

    def _wake(self) -> None:
        self._wake_in.send(b"!")

    def _end(self, *, orderly: bool) -> None:
        if self._orderly is not None:
            return
        self._orderly = orderly
        if self._thread.is_alive():
            self._wake()
            self._thread.join(TAKEN_WITHIN_S)
        else:
            self._close_all()
        if not self._thread.is_alive():
            # Not by the loop: it may have seen that it is to end before it was woken.
            self._wake_in.close()
            self._wake_out.close()

    def _run(self) -> None:
        while self._orderly is None:
            wait_s = _IDLE_AT_MOST_S
            if self._due:
                clock = self.profile.clock
                wait_s = (self._due[0][0] - clock.now().machine_s) / clock.machine_factor
            for key, events in self._selector.select(max(0, min(wait_s, _IDLE_AT_MOST_S))):
                if key.data is None:
                    self._wake_out.recv(4096)
                else:
                    self._serve(key.data, events=events)
            while not self._asked.empty():
                self._asked.get()()
            self._serve_due()
            self._call_in()
        self._close_all()

    def _serve_due(self) -> None:
        now_s = self.profile.clock.now().machine_s
        while self._due and self._due[0][0] <= now_s:
            due_s, _, link = heapq.heappop(self._due)
            if self._planned_s.get(link) == due_s:
                self._serve(link, events=0)

    def _call_in(self) -> None:
        while (link := self._door.called()) is not None:
            link.connect(self.profile.clock.now())
            self._settle(link)

    def _serve(self, link: Link, *, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE and link.connection is not None and not link.frozen:
                link.connection.write()
            frames = link.read() if events & selectors.EVENT_READ else []
            link.serve(self.profile.clock.now(), frames=frames)
        except Exception:  # noqa: BLE001 - one broken terminal must not silence the others
            _log.exception("%s failed", link.terminal.profile.terminal_id)
            link.reboot(self.profile.clock.now(), after_s=_REST_AFTER_ERROR_S)
        self._settle(link)

    def _settle(self, link: Link) -> None:
        self._watch(link)
        self._plan(link, now=self.profile.clock.now())

    def _plan(self, link: Link, *, now: Instant) -> None:
        due_s = link.due_s(now)
        if self._planned_s.get(link) != due_s:
            self._planned_s[link] = due_s
            heapq.heappush(self._due, (due_s, next(self._order), link))

    def _watch(self, link: Link) -> None:
        """Bring the selector in line with the link's socket; a frozen terminal reads nothing."""
        connection = link.connection
        sock = None if connection is None or link.frozen else connection.socket
        events = selectors.EVENT_READ
        if connection is not None and connection.wants_write:
            events |= selectors.EVENT_WRITE
        watched, watched_events = self._watched.get(link, (None, 0))
        if watched is not sock and watched is not None:
            self._selector.unregister(watched)
            del self._watched[link]
            watched = None
        if sock is None or (watched is sock and watched_events == events):
            return
        if watched is None:
            self._selector.register(sock, events, link)
        else:
            self._selector.modify(sock, events, link)
        self._watched[link] = (sock, events)

    def _close_all(self) -> None:
        now = self.profile.clock.now()
        for link in self._links.values():
            link.close(now, orderly=bool(self._orderly))
        self._selector.close()
