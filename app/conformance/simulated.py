"""The kit against simulated terminals: one for each case, on an embedded broker, with time that hurries."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import bcrypt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.clock import Clock
from app.conformance.line import Address, Line
from app.conformance.results import Result, Tell, judged
from app.conformance.stands import Pace
from app.conformance.steps import DeviceAction, TerminalCase
from app.conformance.terminal_player import TerminalPlayer
from app.conformance.tokens import Keys
from app.embedded.broker import SERVICE_USER, EmbeddedBroker
from app.embedded.ports import LOOPBACK
from app.mqtt.signing import public_pem
from app.mqtt.site_codes import KEY_BYTES, key_text
from app.mqtt.topics import all_up
from simulators import faults
from simulators.device_clock import ClockProfile
from simulators.faults import Fault
from simulators.fleet import Fleet
from simulators.load_shapes import Shape
from simulators.profile import BrokerProfile, Defect, FleetProfile, TerminalProfile

#: A minute of the terminal's clock is two seconds of ours.
_CLOCK_FACTOR = 30
#: Where a case waits for long, machines are hurried, too; not everywhere, for a nonce lives ten of their seconds.
_HURRIED = 10
_LONG_S = 11
_AT_ONCE = 16
_PASSWORD = "conformance"  # noqa: S105 - of simulated terminals on a loopback broker
_KEY_ID = "conformance"
_SITE_KEY = bytes(KEY_BYTES)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A case, and the defect that the simulated terminal has that it is played on."""

    case: TerminalCase
    defect: Defect | None = None


class SimulatedStand:
    """Lets one simulated terminal suffer what the case asks for."""

    def __init__(self, fleet: Fleet, *, terminal_id: str, pace: Pace) -> None:
        self.pace = pace
        self._fleet = fleet
        self._terminal_id = terminal_id

    def do(self, action: DeviceAction, *, seconds: int) -> None:
        done: dict[DeviceAction, Fault] = {
            DeviceAction.RECONNECT: faults.Outage(seconds=0),
            DeviceAction.OUTAGE: faults.Outage(seconds=seconds),
            DeviceAction.POWER_LOSS: faults.PowerCycle(off_s=seconds),
            DeviceAction.POWER_LOSS_ON_NEXT_COMMAND: faults.PowerCycle(off_s=seconds, on_next_command=True),
            DeviceAction.STORAGE_LOSS: faults.PowerCycle(off_s=seconds, loses_spool=True),
            DeviceAction.FREEZE: faults.Freeze(seconds=seconds),
            DeviceAction.UNSET_CLOCK: faults.LoseTime(),
        }
        self._fleet.do(self._terminal_id, done[action])

    def type_code(self, digits: str) -> None:
        self._fleet.type_code(self._terminal_id, digits)


def play_on_simulators(trials: list[Trial], *, folder: Path, tell: Tell) -> list[Result]:
    """Play each case on a simulated terminal of its own, many at once; the results are in the order of the trials."""
    names = [f"SIM-{number:04}" for number, _ in enumerate(trials, start=1)]
    keys = Keys(private_key=Ed25519PrivateKey.generate(), key_id=_KEY_ID, site_key=_SITE_KEY)
    hashed = bcrypt.hashpw(_PASSWORD.encode(), bcrypt.gensalt(rounds=4)).decode()
    with EmbeddedBroker(folder / "broker") as broker:
        broker.set_users(broker.service_password, dict.fromkeys(names, hashed))
        address = Address(host=LOOPBACK, port=broker.port, user=SERVICE_USER, password=broker.service_password)
        with _fleets(list(zip(names, trials, strict=True)), keys=keys, port=broker.port) as stands:

            def play(name: str, trial: Trial) -> Result:
                return _play_one(trial, stand=stands[name], terminal_id=name, address=address, keys=keys)

            with ThreadPoolExecutor(_AT_ONCE) as pool:
                # Who waits longest begins first, so that at the end nobody is waited for alone.
                order = sorted(range(len(trials)), key=lambda one: -trials[one].case.lives_s)
                playing = {one: pool.submit(play, names[one], trials[one]) for one in order}
                results = []
                for one in range(len(trials)):
                    results.append(playing[one].result())
                    tell(results[-1])
    return results


def _play_one(trial: Trial, *, stand: SimulatedStand, terminal_id: str, address: Address, keys: Keys) -> Result:
    line = Line(address, client_id=f"kit-{terminal_id}", listens_to=all_up(terminal_id))
    line.open()
    try:
        player = TerminalPlayer(line, terminal_id=terminal_id, keys=keys, stand=stand)

        def play() -> None:
            stand.do(DeviceAction.RECONNECT, seconds=0)
            player.meet()
            player.play(trial.case)

        return judged(trial.case, play=play, frames=lambda: player.frames)
    finally:
        line.close()


@contextmanager
def _fleets(named: list[tuple[str, Trial]], *, keys: Keys, port: int) -> Iterator[dict[str, SimulatedStand]]:
    """Two fleets: one that lives as fast as we do, but for its clock, and one that is hurried."""
    public = public_pem(keys.private_key.public_key())
    started_at = Clock().now()
    stands: dict[str, SimulatedStand] = {}
    running: list[Fleet] = []
    try:
        for machine_factor in (1, _HURRIED):
            hurried = machine_factor > 1
            ours = [(name, trial) for name, trial in named if (trial.case.lives_s >= _LONG_S) is hurried]
            if not ours:
                continue
            fleet = Fleet(
                _profile(ours, public_key_pem=public, port=port, machine_factor=machine_factor, at=started_at)
            )
            fleet.start()
            running.append(fleet)
            clock = Clock(factor=_CLOCK_FACTOR, started_at=started_at, shown_at=started_at)
            pace = Pace(clock=clock, machine_factor=machine_factor)
            stands |= {name: SimulatedStand(fleet, terminal_id=name, pace=pace) for name, _ in ours}
        # Only then: a birth of the first connection that came late would be taken for that of the next.
        for fleet in running:
            fleet.wait_online()
        yield stands
    finally:
        for fleet in running:
            fleet.stop()


def _profile(
    named: Iterable[tuple[str, Trial]], *, public_key_pem: str, port: int, machine_factor: int, at: datetime
) -> FleetProfile:
    return FleetProfile(
        broker=BrokerProfile(host=LOOPBACK, port=port),
        clock=ClockProfile(
            factor=_CLOCK_FACTOR // machine_factor,
            started_at=at.astimezone(UTC),
            shown_at=at.astimezone(UTC),
            machine_factor=machine_factor,
        ),
        tick_ms=10,
        terminals=tuple(
            TerminalProfile(
                terminal_id=name,
                password=_PASSWORD,
                service_public_key_pem=public_key_pem,
                service_key_id=_KEY_ID,
                site_key=key_text(_SITE_KEY),
                meter_no=f"M-{name}",
                shape=Shape.STEADY,
                report_interval_s=86_400,
                defect=trial.defect,
            )
            for name, trial in named
        ),
    )
