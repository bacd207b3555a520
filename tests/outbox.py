"""What a dispatcher in a test is given: a key, a clock that is ahead, and somewhere to publish to."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.clock import Clock
from app.mqtt.messages import CommandClaims
from app.mqtt.signing import CommandSigner, CommandVerifier

SIGNER = CommandSigner(Ed25519PrivateKey.generate(), key_id="k1")
VERIFIER = CommandVerifier(SIGNER.public_key_pem(), key_id="k1")


@dataclass(frozen=True)
class Handed:
    """A message on its way; the broker takes it, or does not."""

    is_taken: bool

    def taken(self, *, within_s: float) -> bool:
        return self.is_taken and within_s > 0


@dataclass
class Outbox:
    """Keeps what is published, and fails as it is told to."""

    sent: list[tuple[str, bytes]] = field(default_factory=list)
    error: Exception | None = None
    taken: bool = True

    def __call__(self, topic: str, payload: bytes) -> Handed:
        if self.error is not None:
            raise self.error
        self.sent.append((topic, payload))
        return Handed(self.taken)

    @property
    def claims(self) -> list[CommandClaims]:
        return [VERIFIER.verify(payload) for _, payload in self.sent]


def later(seconds: float) -> Clock:
    """A clock that is so many seconds ahead of the machine's."""
    start = datetime(2000, 1, 1, tzinfo=UTC)
    return Clock(started_at=start, shown_at=start + timedelta(seconds=seconds))
