"""What a broken or evil terminal may send: a seeded stream of payloads of every kind, most of them wrong somewhere.

A few thousand templates of a kind are mutated with care, as JSON trees; each message then is one of them with numbers
of its own and, often, with broken bytes. So no two messages need be equal and a hundred thousand cost a second.
"""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from factories import a_state

from app.mqtt import topics

SPOOLS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(4)]
SESSIONS = [f"{number:032x}" for number in range(6)]

_TEMPLATES = 2_000
#: Stands for the number of a message until it is sent.
_SEQ = 4_242_424_242
_SEQ_WRITTEN = str(_SEQ).encode()

_MOMENTS = [
    "2026-03-02T12:00:00.000Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999Z",
    "1999-12-31T23:59:60Z",
    "2026-02-30T00:00:00Z",
    "2026-03-02T12:00:00",
    "2026-03-02T12:00:00+08:00",
    "2026-03-02T12:00:00+99:99",
    "2026-03-02t12:00:00z",
    "2026-03-02 12:00:00Z",
    "-4712-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "2026-03-02T24:00:00Z",
    "2026-03-02T12:00:00.123456789123Z",
    "1772452800",
    "infinity",
    "now",
    "",
]
_NUMBERS = [
    0,
    1,
    -1,
    2**31,
    2**32,
    2**40,
    2**40 + 1,
    -(2**40),
    2**53,
    2**62,
    -(2**62),
    2**62 + 1,
    2**63,
    -(2**63),
    2**64,
]
_TEXTS = [
    "",
    " ",
    "null",
    "\ud800",
    "\udfff\ud800",
    "\x00",
    "\x1b[2J",
    "\n\r\t",
    "\u202e反\u2066",
    "'; DROP TABLE commands; --",
    "%s %(a)s {0} $1 :now",
    "\\",
    "ﷺ" * 21,
    "x" * 64,
    "x" * 65,
    "11------",
    "01------",
    "trip",
    "off",
    "synced",
    "unset",
    "executed",
    "refused",
]


def bodies(commands: list[str]) -> dict[str, dict[str, Any]]:
    """One message of each kind that holds, with every member that it can have."""
    at = "2026-03-02T12:00:00.000Z"
    registers = dict.fromkeys(("sharp", "peak", "flat", "valley", "total"), 1_000)
    meter = {
        "meter_no": "M0001",
        "active_import_wh": registers,
        "reactive_import_varh": 1,
        "reactive_export_varh": 2,
        "max_demand_w": 3,
        "max_demand_at": at,
    }
    report = {
        "spool_id": SPOOLS[0],
        "seq": _SEQ,
        "at": at,
        "clock": "synced",
        "uptime_s": 60,
        "supplied_wh": 1_000_000,
        "active_power_w": 480_000,
        "meters": [meter],
        "state": a_state(limit_w=300_000),
    }
    live = {"session": SESSIONS[0], "uptime_s": _SEQ, "at": at, "clock": "synced", "state": a_state()}
    detail = {"order_no": 1, "remaining_before_wh": 1, "remaining_after_wh": 2, "rounds": "01------", "note": "说明"}
    return {
        "birth": {
            **live,
            "boot": 3,
            "firmware": "1.0",
            "spool": {"id": SPOOLS[0], "first": 1, "last": 9},
            "slots": {"round-1": 2, "credit": 1},
            "results": [{"command_id": commands[0], "step": "executed", "at": at, "detail": detail}],
        },
        "death": {"session": SESSIONS[0], "unknown": _SEQ},
        "heartbeat": {**live, "echo": "c", "active_power_w": 480_000},
        "report": report,
        "backfill": report,
        "event": {"spool_id": SPOOLS[0], "seq": _SEQ, "at": at, "type": "relay", "detail": {**detail, "round": 1}},
        "ack": {
            "command_id": commands[0],
            "step": "received",
            "code": None,
            "at": at,
            "uptime_s": _SEQ,
            "detail": {**detail, "nonce": "n", "active_power_w": 1, "until": at, "guarantee": "off"},
        },
    }


class Hostile:
    """Payloads of one kind, the same ones for the same seed."""

    def __init__(self, kind: str, *, seed: int, commands: list[str], terminals: list[str]) -> None:
        self._chance = random.Random(f"{kind} {seed}")
        self._kind = kind
        self._commands = commands
        self._topics = [topics.up(terminal_id, kind) for terminal_id in terminals]
        self._body = bodies(commands)[kind]
        self._sound = [self._written(self._varied()) for _ in range(_TEMPLATES // 4)]
        self._wrong = [self._mutated() for _ in range(_TEMPLATES)]

    def messages(self, count: int) -> Iterator[tuple[str, bytes]]:
        """Return topic and payload of so many messages."""
        chance = self._chance
        for number in range(count):
            luck = chance.random()
            if luck < 0.35:
                payload = self._numbered(chance.choice(self._sound), number)
            elif luck < 0.85:
                payload = self._numbered(chance.choice(self._wrong), number)
            elif luck < 0.98:
                payload = self._broken(self._numbered(chance.choice(self._sound), number))
            else:
                payload = chance.randbytes(chance.choice((0, 1, 7, 60, 400)))
            yield self._topic(), payload

    def _topic(self) -> str:
        if self._chance.random() < 0.99:
            return self._chance.choice(self._topics)
        named = self._chance.choice(
            ("SH-STRANGER", "SH-9999", "sh-0001", "", "X" * 400, "SH/0001", "+", "SH-\u00000")
        )
        kind = self._chance.choice((self._kind, self._kind, "rumour", "", "report/report", self._kind.upper()))
        return f"lm/v1/{named}/up/{kind}"

    def _numbered(self, payload: bytes, number: int) -> bytes:
        if _SEQ_WRITTEN not in payload:
            return payload
        luck = self._chance.random()
        if luck < 0.7:
            seq = number + 1
        elif luck < 0.97:
            seq = self._chance.randint(1, number + 1)
        else:
            seq = self._chance.choice(
                (0, 1, 2**31, 2**62, 2**62 - number, 2**62 + 1, 2**63 - 1, 2**63, 2**64, -number)
            )
        return payload.replace(_SEQ_WRITTEN, b"%d" % seq)

    def _broken(self, payload: bytes) -> bytes:
        chance = self._chance
        broken = bytearray(payload)
        for _ in range(chance.choice((1, 1, 2, 5))):
            place = chance.randrange(len(broken) + 1)
            match chance.randrange(4):
                case 0:
                    broken[place : place + 1] = chance.randbytes(1)
                case 1:
                    del broken[place : place + chance.choice((1, 1, 8, 400))]
                case 2:
                    broken[place:place] = chance.choice(
                        (b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\\u0000", b'"', b"}")
                    )
                case _:
                    broken[place:place] = broken[: chance.randrange(len(broken) + 1)]
        return bytes(broken)

    def _varied(self) -> dict[str, Any]:
        """Vary a message and leave it right."""
        chance = self._chance
        body: dict[str, Any] = json.loads(json.dumps(self._body))
        at = f"2026-03-{chance.randint(1, 28):02}T{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:00.000Z"
        body.update({name: at for name in ("at",) if name in body})
        for name, choices in self._choices().items():
            if name in body:
                body[name] = chance.choice(choices)
        if "state" in body:
            body["state"] = a_state(
                rounds=chance.choice(["11------", "01------", "00------", "--------"]),
                guarantee=chance.choice(["off", "ordered", "automatic"]),
                paid_until_wh=chance.choice([0, 21_000_000, 2**62, -(2**62)]),
                order_no=chance.choice([0, 1, 2, 2**32 - 1]),
                limit_w=chance.choice([None, 0, 300_000, 2**40]),
            )
        if "results" in body:
            body["results"] = [
                {"command_id": one, "step": chance.choice(["executed", "refused"]), "at": at}
                for one in chance.sample(self._commands, 3)
            ]
            body["spool"] = {"id": chance.choice(SPOOLS), "first": chance.choice([0, 1, 50, 2**62]), "last": 9}
        return body

    def _choices(self) -> dict[str, list[Any]]:
        return {
            "session": SESSIONS,
            "spool_id": SPOOLS,
            "clock": ["synced", "free", "unset"],
            "uptime_s": [_SEQ, _SEQ, _SEQ, 0, 60, 2**40],
            "supplied_wh": [0, 1_000_000, 20_999_999, 21_000_000, 10**12, 2**62],
            "active_power_w": [0, 480_000, -480_000, 2**40, -(2**40)],
            "type": ["relay", "trip", "tamper", "alarm"],
            "command_id": [*self._commands, "00000000-0000-4000-8000-00000000ffff"],
            "step": ["received", "armed", "delaying", "executed", "refused"],
            "code": [None, "BUSY", "EXPIRED", "HARDWARE"],
            "echo": ["c", "x" * 64],
        }

    def _mutated(self) -> bytes:
        """Change a message in one to three places; most of what comes out is wrong, some of it is right."""
        message = {"message": self._varied()}
        mutate: list[Callable[[Any, Any], None]] = [
            self._drop,
            self._retype,
            self._retype,
            self._nest,
            self._swell,
            self._stretch,
        ]
        for _ in range(self._chance.choice((1, 1, 2, 3))):
            if places := _places(message):
                container, key = self._chance.choice(places)
                self._chance.choice(mutate)(container, key)
        written = self._written(message.get("message"))
        luck = self._chance.random()
        if luck < 0.05:
            written = written.replace(b'"at":', b'"at": 1, "at":', 1)
        elif luck < 0.08:
            written = written.replace(b": 1000", b": 1000.0").replace(
                b": 60", self._chance.choice((b": NaN", b": 6e1", b": -Infinity", b": 060"))
            )
        elif luck < 0.09:
            written = b"\xef\xbb\xbf" + written
        elif luck < 0.10:
            written = written.decode("utf-8", "replace").encode("utf-16")
        elif luck < 0.105:
            written += b" " * self._chance.choice((16_384 - len(written), 16_385 - len(written), 20_000))
        elif luck < 0.11:
            written = written[:-1] + b', "x": ' + b"[" * 3_000 + b"]" * 3_000 + b"}"
        return written

    def _drop(self, container: Any, key: Any) -> None:
        del container[key]

    def _retype(self, container: Any, key: Any) -> None:
        chance = self._chance
        container[key] = chance.choice(
            (
                None,
                True,
                [],
                {},
                chance.choice(_NUMBERS),
                chance.choice(_NUMBERS),
                chance.choice(_MOMENTS),
                chance.choice(_MOMENTS),
                chance.choice(_TEXTS),
                chance.choice((0.5, 1e308, float("nan"), float("inf"), -0.0, 1.0)),
                10 ** chance.choice((20, 400, 4_000)) if chance.random() < 0.2 else str(chance.choice(_NUMBERS)),
            )
        )

    def _nest(self, container: Any, key: Any) -> None:
        for _ in range(self._chance.choice((1, 3, 30, 90))):
            container[key] = self._chance.choice(([container[key]], {"state": container[key]}))

    def _swell(self, container: Any, key: Any) -> None:
        chance = self._chance
        if chance.random() < 0.04:
            container[key] = chance.choice(("x", "9", "电", "\\", "\x01")) * chance.choice((401, 4_000, 16_000))
        elif chance.random() < 0.2:
            many = (2, 17) if isinstance(container[key], dict | list) else (17, 33, 400)
            container[key] = [container[key]] * chance.choice(many)
        elif isinstance(container, list):
            container.append(container[key])
        else:
            container[chance.choice(("", "at", "seq", "__proto__", "x" * 300, "\ud800"))] = container[key]

    def _stretch(self, container: Any, key: Any) -> None:
        if isinstance(container[key], int):
            container[key] = self._chance.choice(_NUMBERS)
        elif isinstance(container[key], str):
            container[key] += self._chance.choice(("\x00", " ", "Z", "x" * 400, "\ud800"))
        elif isinstance(container[key], dict):
            container[key].update({f"k{number}": number for number in range(self._chance.choice((1, 40, 300)))})

    def _written(self, body: Any) -> bytes:
        # Text beyond ASCII escaped or not, as writers differ: a lone surrogate comes as `\ud800` or as bytes.
        escaped = self._chance.random() < 0.7
        return json.dumps(body, ensure_ascii=escaped).encode(errors="surrogatepass")


def _places(body: Any) -> list[tuple[Any, Any]]:
    """Every container in a body with every key in it."""
    if isinstance(body, dict):
        inner = list(body.items())
    elif isinstance(body, list):
        inner = list(enumerate(body))
    else:
        return []
    return [(body, key) for key, _ in inner] + [place for _, value in inner for place in _places(value)]
