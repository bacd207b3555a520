"""The field process: MQTT in, MQTT out, time passing. It composes the features and holds no rules."""

import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog
from prometheus_client import Gauge, start_http_server
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from app import models  # noqa: F401 - foreign keys by name need every table known
from app.allowances import sweep as allowances_sweep
from app.approvals import sweep as approvals_sweep
from app.audit import heads as audit_heads
from app.audit import queries as audit_queries
from app.brake import sweep as brake_sweep
from app.campaigns import sweep as campaigns_sweep
from app.cheques import sweep as cheques_sweep
from app.clock import monotonic_s
from app.commands.dispatch import Dispatcher
from app.commands.models import Command
from app.commands.rules import Op
from app.commands.sweep import CommandFigures
from app.database import connect, in_transaction, watch_pool
from app.load_control import service as load_control
from app.load_control import sweep as load_control_sweep
from app.load_control.service import Pace
from app.mqtt.client import BrokerAddress, BrokerLink, Publication
from app.refunds import service as refunds
from app.settings import Settings
from app.terminal_reports import sweep as terminal_reports_sweep
from app.terminal_reports.ingest import Ingest, send_clocks
from app.terminals.routes import keys_of
from app.workers.service import WorkerNameTaken
from app.workers.sweep import TEND_EVERY_S, Frame, Shares

log = structlog.get_logger()

CONNECTED = Gauge("wattgate_broker_connected", "1 while the worker is connected to the broker")

ARCHIVE_FAILING = Gauge("wattgate_log_archive_failing", "1 while PostgreSQL cannot put its logs into the archive")

_DISPATCH_EVERY_S = 0.05
_APPROVALS_EVERY_S = 5
_GIVE_UP_EVERY_S = 0.5
_SWEEP_EVERY_S = 0.2
_SILENCE_EVERY_S = 10.0
_CHEQUES_EVERY_S = 60.0
_FIGURES_EVERY_S = 15.0
_DAY_S = 24 * 3600
_POOL = 7
_HEARS_UNTIL_S = 5.0
_DATABASE_AGAIN_S = 0.5
_LOOKED_EVERY_S = 1.0


class Worker:
    """Owns the broker link and the threads that work beside it."""

    def __init__(self, settings: Settings, *, engine: Engine | None = None, client_id: str | None = None) -> None:
        self._settings = settings
        self._clock = settings.clock
        self._heads_file = settings.audit_heads_file
        self._cheque_overdue_days = settings.cheque_overdue_days
        self._pace = Pace.of(settings)
        # Asleep in the middle of a transaction, a worker must not keep its terminals from those that would take over.
        self._engine = engine or connect(
            settings.database_url.get_secret_value(), pool_size=_POOL, idle_in_transaction_s=settings.worker_lease_s
        )
        name = client_id or settings.worker_name or settings.broker_user
        self._shares = Shares(self._engine, name=name, lease_s=settings.worker_lease_s, take=self._take)
        # Where a broker ties client ids to nobody, a terminal that could guess ours would throw us out.
        self._link = BrokerLink(
            _address(settings), client_id=f"{name}-{secrets.token_hex(8)}", on_message=self._shares.put
        )
        self._heard_s = self._gave_up_s = float("-inf")
        self._ingest = Ingest(
            self._engine, pace=self._pace, publish=self._link.publish, not_ours=self._shares.not_ours
        )
        keys = keys_of(settings)
        self._dispatcher = Dispatcher(
            self._engine,
            clock=self._clock,
            signer=keys.current,
            previous_signer=keys.previous,
            publish=self._publish,
            reasons_against=self._reasons_against,
            look_again=load_control.look_again,
        )
        self._command_figures = CommandFigures(self._engine, clock=self._clock)
        watch_pool(self._engine)
        self._stopping = threading.Event()
        self.out_of_place = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(name, work, every_s), name=name, daemon=True)
            for name, work, every_s in (
                ("shares", self._tend, TEND_EVERY_S),
                ("dispatch", self._dispatch, _DISPATCH_EVERY_S),
                ("sweep", self._sweep, _SWEEP_EVERY_S),
                ("campaigns", self._go_on_with_campaigns, _SWEEP_EVERY_S),
                ("approvals", self._end_requests, _APPROVALS_EVERY_S),
                ("silence", self._note_silence, _SILENCE_EVERY_S),
                ("cheques", self._count_cheques, _CHEQUES_EVERY_S),
                ("figures", self._measure, _FIGURES_EVERY_S),
                ("daily", self._daily, max(_DAY_S / settings.clock_factor, 1.0)),
            )
        ]

    def start(self) -> None:
        """Begin; first wait for a name that an earlier life of this worker may still have.

        Raises:
            WorkerNameTaken: another worker of that name goes on living.
        """
        self._shares.enter(self._stopping)
        terminal_reports_sweep.make_partitions(self._engine, now=self._clock.now())
        self._ingest.start()
        self._link.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End in order: no new orders, no new messages, then what was received is recorded."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=15)
        self._link.stop()
        self._ingest.stop()
        with suppress(DBAPIError, WorkerNameTaken):
            self._shares.leave()
        self._engine.dispose()

    def wait_connected(self, timeout_s: float) -> bool:
        return self._link.wait_connected(timeout_s)

    def _take(self, frames: Iterable[Frame]) -> None:
        for topic, payload, heard_s in frames:
            self._ingest.put(topic, payload, heard_s=heard_s)

    def _publish(self, topic: str, payload: bytes) -> Publication:
        return self._link.publish(topic, payload)

    def _reasons_against(self, session: Session, command: Command, now: datetime) -> list[dict[str, Any]]:
        asked = refunds.reasons_against if command.op == Op.CREDIT else load_control.reasons_against
        return [reason.as_json() for reason in asked(session, command, pace=self._pace, now=now)]

    def _tend(self) -> None:
        """Show that this worker lives; it hears the broker as long as it has just now."""
        if self._link.connected:
            self._heard_s = monotonic_s()
        try:
            self._shares.tend(hears=monotonic_s() - self._heard_s < _HEARS_UNTIL_S)
        except WorkerNameTaken as taken:
            log.error("another worker has this one's name", detail=taken.detail, remedy=taken.remedy)  # noqa: TRY400
            self.out_of_place.set()

    def _dispatch(self) -> None:
        if monotonic_s() - self._gave_up_s >= _GIVE_UP_EVERY_S:
            self._gave_up_s = monotonic_s()
            self._dispatcher.give_up()
        if self._link.connected:
            self._dispatcher.run_once(unread_s=self._ingest.lag_s())

    def _sweep(self) -> None:
        CONNECTED.set(self._link.connected)
        load_control_sweep.run_once(self._engine, pace=self._pace)

    def _end_requests(self) -> None:
        approvals_sweep.run_once(self._engine, pace=self._pace)

    def _go_on_with_campaigns(self) -> None:
        if self._link.connected:
            campaigns_sweep.run_once(self._engine, pace=self._pace)

    def _note_silence(self) -> None:
        # While we hear nobody, nobody is silent: the broker is away, not the terminals.
        if self._link.connected:
            terminal_reports_sweep.note_silence(self._engine, clock=self._clock)

    def _count_cheques(self) -> None:
        cheques_sweep.count_waiting(self._engine, clock=self._clock, overdue_days=self._cheque_overdue_days)

    def _measure(self) -> None:
        self._command_figures.measure()
        terminal_reports_sweep.measure_spools(self._engine)
        brake_sweep.count_pulled(self._engine)
        approvals_sweep.count_waiting(self._engine, now=self._clock.now())
        campaigns_sweep.count(self._engine)
        ARCHIVE_FAILING.set(in_transaction(self._engine, _archive_is_failing))

    def _daily(self) -> None:
        now = self._clock.now()
        terminal_reports_sweep.make_partitions(self._engine, now=now)
        if self._link.connected:
            send_clocks(self._engine, clock=self._clock, publish=self._link.publish)
        posted_wh = allowances_sweep.post_all(self._engine, now=now)
        log.info("energy posted", energy_wh=posted_wh)
        if self._heads_file is not None:
            heads = in_transaction(self._engine, audit_queries.heads)
            audit_heads.export(self._heads_file, heads, now=now)
            log.info("heads of the audit record exported", chains=len(heads), file=str(self._heads_file))

    def _repeat(self, name: str, work: Callable[[], None], every_s: float) -> None:
        while not self._stopping.is_set():
            started_s = monotonic_s()
            try:
                work()
            except Exception:
                # The database may be away for a while; the next turn finds everything where it was.
                log.exception("a turn failed; the next one follows", work=name)
                self._stopping.wait(0.5)
            self._stopping.wait(max(every_s - (monotonic_s() - started_s), 0.005))


def _address(settings: Settings) -> BrokerAddress:
    (host, port), *others = settings.brokers
    password = settings.broker_password
    return BrokerAddress(
        host=host,
        port=port,
        others=tuple(others),
        subscribe_qos=settings.broker_subscribe_qos,
        user=settings.broker_user,
        password=password.get_secret_value() if password else None,
        ca_file=settings.broker_ca_file,
    )


def _archive_is_failing(session: Session) -> bool:
    found = session.scalar(
        text("SELECT last_failed_time > coalesce(last_archived_time, '-infinity') FROM pg_stat_archiver")
    )
    return bool(found)


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then stop in order."""
    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    if settings.worker_metrics_port:
        start_http_server(settings.worker_metrics_port, addr=settings.http_host)
    worker = Worker(settings)
    while not asked_to_stop.is_set():
        try:
            worker.start()
            break
        except OperationalError as error:
            # Where both start together after a crash, the database still recovers when we ask it first.
            log.warning("the database is away; the worker waits for it", error=str(error.orig))
            asked_to_stop.wait(_DATABASE_AGAIN_S)
        except WorkerNameTaken as taken:
            log.error("not started", detail=taken.detail, remedy=taken.remedy)  # noqa: TRY400
            sys.exit(1)
    log.info("the worker runs", environment=settings.environment, clock_factor=settings.clock_factor)
    while not (asked_to_stop.is_set() or worker.out_of_place.is_set()):
        asked_to_stop.wait(_LOOKED_EVERY_S)
    worker.stop()
    log.info("the worker has stopped")
    if worker.out_of_place.is_set():
        sys.exit(1)
