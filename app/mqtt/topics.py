"""Names of the topics between the service and a terminal, and nothing else."""

import re
from typing import NamedTuple

UP_KINDS = ("birth", "death", "heartbeat", "report", "backfill", "event", "ack")
DOWN_KINDS = ("receipt", "clock", "request", "command")

#: What the service subscribes to.
ALL_UP = "lm/v1/+/up/#"

QOS = 1
MAX_PAYLOAD_BYTES = 16 * 1024

TERMINAL_ID_PATTERN = r"^[A-Z0-9-]{4,32}$"
_UP_TOPIC = re.compile(r"lm/v1/([A-Z0-9-]{4,32})/up/([a-z]+)", re.ASCII)


class UpTopic(NamedTuple):
    terminal_id: str
    kind: str


def up(terminal_id: str, kind: str) -> str:
    return f"lm/v1/{terminal_id}/up/{kind}"


def down(terminal_id: str, kind: str) -> str:
    return f"lm/v1/{terminal_id}/dn/{kind}"


def all_up(terminal_id: str) -> str:
    """Return what one listens to who wants all that one terminal tells."""
    return f"lm/v1/{terminal_id}/up/#"


def all_down(terminal_id: str) -> str:
    """Return the one subscription that a terminal holds."""
    return f"lm/v1/{terminal_id}/dn/#"


def parse_up(topic: str) -> UpTopic:
    """Read a topic that a terminal wrote to: ``lm/v1/SH-0001/up/report`` → ``("SH-0001", "report")``.

    Raises:
        ValueError: it is not an ``up`` topic of this protocol.
    """
    match = _UP_TOPIC.fullmatch(topic)
    if match is None or match[2] not in UP_KINDS:
        raise ValueError(f"not a topic of this protocol: {topic[:100]!r}")
    return UpTopic(match[1], match[2])
