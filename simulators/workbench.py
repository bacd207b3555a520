"""One terminal on the workbench: no network, time moved by hand, commands signed by a key of its own."""

import secrets
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from uuid_utils.compat import uuid7

from app.mqtt.messages import (
    AckStep,
    ClockChallenge,
    CommandClaims,
    Message,
    Op,
    Receipt,
    RefusalCode,
    Step,
    encode,
    parse_up,
)
from app.mqtt.signing import CommandSigner
from app.mqtt.site_codes import SiteCode, key_text, write
from simulators.device import Outgoing
from simulators.device_clock import Instant
from simulators.keypad import Typed
from simulators.load_shapes import Shape
from simulators.memory import Memory
from simulators.operations import read_args, slot_of
from simulators.profile import TerminalProfile
from simulators.site import Site
from simulators.terminal import Terminal

KEY_ID = "workbench"
SITE_KEY = bytes(range(32, 64))
#: A Monday, 08:00 at the site.
STARTS_AT = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
#: Members of a command that are not arguments; `stage` is an argument of `warn`.
_CLAIMS = set(CommandClaims.model_fields) - {"stage"}

#: Answers as `Workbench.answers` returns them.
RECEIVED = (AckStep.RECEIVED, None)
ARMED = (AckStep.ARMED, None)
DELAYING = (AckStep.DELAYING, None)
EXECUTED = (AckStep.EXECUTED, None)


def refused(code: str) -> tuple[AckStep, RefusalCode]:
    return AckStep.REFUSED, RefusalCode(code)


@cache
def signer() -> CommandSigner:
    return CommandSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))), key_id=KEY_ID)


def terminal_profile(**different: Any) -> TerminalProfile:
    """Return a terminal with rounds 1 (30 %) and 2 (40 %) at 1 MW, unless told otherwise."""
    members: dict[str, Any] = {
        "terminal_id": "SH-0001",
        "password": "workbench",
        "service_public_key_pem": signer().public_key_pem(),
        "service_key_id": KEY_ID,
        "site_key": key_text(SITE_KEY),
        "meter_no": "M-0001",
        "rated_power_w": 1_000_000,
        "shape": Shape.STEADY,
    }
    return TerminalProfile.model_validate({**members, **different})


class Workbench:
    """A terminal, its time, and all that it has said since the last `clear`."""

    def __init__(self, *, factor: int = 1, memory: Memory | None = None, **different: Any) -> None:
        self.factor = factor
        self.now = Instant(1000.0, STARTS_AT)
        self.site = Site(terminal_profile(**different))
        self.terminal = Terminal(
            terminal_profile(**different), now=self.now, factor=factor, memory=memory, site=self.site
        )
        self.said: list[tuple[str, Any]] = []
        self.spool_id = UUID(int=0)
        self._version = 0

    def clear(self) -> None:
        self.said = []

    def connect(self, *, synced: bool = True) -> str:
        """Connect, and tell the time unless the clock is to stay unsynced; return the session."""
        session = self.terminal.open_session()
        self.hear(self.terminal.connected(self.now))
        if synced:
            told = ClockChallenge(at=self.now.at, challenge=secrets.token_hex(4))
            self.receive("clock", encode(told))
        return session

    def lose(self) -> None:
        self.terminal.lost(self.now)

    def live(self, seconds: float = 0, *, step: bool = True, **device: float) -> None:
        """Let machine seconds pass, or with ``minutes=``, ``hours=`` a span of the device's clock."""
        span = timedelta(**device) if device else timedelta(seconds=seconds) * self.factor
        machine_s = self.now.machine_s + span.total_seconds() / self.factor
        self.now = Instant(machine_s, self.now.at + span)
        if step:
            self.step()

    def step(self) -> None:
        self.hear(self.terminal.step(self.now))

    def receive(self, kind: str, payload: bytes, *, retained: bool = False) -> None:
        self.hear(self.terminal.receive(kind, payload, now=self.now, retained=retained))

    def type_code(self, code: SiteCode | str) -> Typed:
        """Type a site code at the keypad, one that is made under the terminal's key or digits as they are."""
        digits = code if isinstance(code, str) else write(code, SITE_KEY)
        said = self.terminal.type_code(digits, now=self.now)
        self.step()
        return said

    def receipt(self, *, upto: int, missing: list[list[int]] | None = None) -> None:
        self.receive("receipt", encode(Receipt(spool_id=self.spool_id, upto=upto, missing=missing or [])))

    def hear(self, outgoing: list[Outgoing]) -> None:
        """Read what was sent, as strictly as the service does."""
        self.said += [(kind, parse_up(kind, payload)) for kind, payload in outgoing]
        self.spool_id = next((birth.spool.id for birth in self.of("birth")), self.spool_id)

    def of(self, kind: str) -> list[Any]:
        return [message for said, message in self.said if said == kind]

    def events(self, kind: str) -> list[Any]:
        """Return the events of a type, each once although it is sent again until it has a receipt."""
        return list({event.seq: event for event in self.of("event") if event.type == kind}.values())

    def answers(self, command_id: UUID) -> list[tuple[AckStep, RefusalCode | None]]:
        return [(ack.step, ack.code) for ack in self.of("ack") if ack.command_id == command_id]

    def claims(self, op: str, /, *, step: Step = Step.DO, **different: Any) -> CommandClaims:
        """Return claims that nothing stands against; members of `CommandClaims` may differ, the rest is args."""
        members = {name: different.pop(name) for name in list(different) if name in _CLAIMS}
        self._version += 1
        claims = CommandClaims.model_validate(
            {
                "id": uuid7(),
                "terminal_id": "SH-0001",
                "op": op,
                "args": different,
                "slot": op,
                "version": self._version,
                "step": step,
                "issued_at": self.now.at,
                "expires_at": self.now.at + timedelta(hours=1),
                "session": self.terminal.session,
                "max_uptime_s": 1_000_000,
                "reason": "workbench",
            }
            | members
        )
        if "slot" in members:
            return claims
        args: Message = read_args(claims)
        return claims.model_copy(update={"slot": slot_of(Op(op), args)})

    def send(self, claims: CommandClaims) -> UUID:
        """Sign and deliver a command without letting it be carried out."""
        self.receive("command", signer().sign(claims))
        return claims.id

    def do(self, op: str, /, **args: Any) -> UUID:
        """Send a command in one step and let it be carried out."""
        command_id = self.send(self.claims(op, **args))
        self.step()
        return command_id

    def cut(self, op: str, /, **args: Any) -> UUID:
        """Arm and operate a command and let it be carried out."""
        claims = self.claims(op, step=Step.ARM, **args)
        self.send(claims)
        self.send(self.operate(claims))
        self.step()
        return claims.id

    def operate(self, armed: CommandClaims) -> CommandClaims:
        """Return the second step of a command, with the last nonce that was given for it."""
        nonces = [ack.detail.nonce for ack in self.of("ack") if ack.command_id == armed.id and ack.detail.nonce]
        nonce = nonces[-1] if nonces else None
        return armed.model_copy(update={"step": Step.OPERATE, "nonce": nonce})

    def credit(self, *, remaining_wh: int, order_no: int, **args: Any) -> UUID:
        """Deliver an order that leaves so much energy."""
        terms = {"mode": "refresh", "value_wh": 0, "alarm_wh": 0, "trip_wh": 0, **args}
        paid_until_wh = self.terminal.supplied_wh + remaining_wh
        return self.do("credit", order_no=order_no, paid_until_wh=paid_until_wh, **terms)
