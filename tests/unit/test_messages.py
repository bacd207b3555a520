"""Whatever arrives is a message of the protocol or is refused, and whatever is sent can be read."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.commands import rules as command_rules
from app.customers import rules as customer_rules
from app.mqtt import messages
from app.mqtt.messages import ARGS_MODELS, UP_MODELS, Message, Request, UnreadableError, encode, parse_up
from app.mqtt.topics import MAX_PAYLOAD_BYTES

AT = "2026-01-31T08:00:00.000Z"
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
SESSION = "0123456789abcdef" * 2
STATE: dict[str, Any] = {
    "paid_until_wh": 60_000_000,
    "remaining_wh": -1,
    "order_no": 7,
    "alarm_wh": 1000,
    "trip_wh": 0,
    "control_enabled": True,
    "mode": "remote",
    "stage": "normal",
    "limit_w": 300_000,
    "rounds": "1101----",
    "guarantee": "off",
}
METER: dict[str, Any] = {
    "meter_no": "M-1",
    "active_import_wh": {"sharp": 1, "peak": 2, "flat": 3, "valley": 4, "total": 10},
    "reactive_import_varh": 1,
    "reactive_export_varh": 0,
    "max_demand_w": 780_000,
    "max_demand_at": AT,
}
REPORT: dict[str, Any] = {
    "spool_id": ID,
    "seq": 1,
    "at": AT,
    "clock": "synced",
    "uptime_s": 60,
    "supplied_wh": 1234,
    "active_power_w": -5,
    "meters": [METER],
    "state": STATE,
}
DETAIL: dict[str, Any] = {"nonce": "n", "active_power_w": 411_000, "rounds": "11------", "until": AT, "note": "停电"}
EXAMPLES: dict[str, dict[str, Any]] = {
    "birth": {
        "session": SESSION,
        "boot": 3,
        "uptime_s": 0,
        "at": AT,
        "clock": "free",
        "firmware": "1.0",
        "spool": {"id": ID, "first": 1, "last": 9},
        "slots": {"credit": 4, "round-1": 5},
        "state": STATE,
        "results": [{"command_id": ID, "step": "refused", "code": "HARDWARE", "at": AT, "detail": DETAIL}],
    },
    "death": {"session": SESSION},
    "heartbeat": {"session": SESSION, "uptime_s": 60, "at": AT, "echo": "c", "active_power_w": 1, "state": STATE},
    "report": REPORT,
    "backfill": REPORT,
    "event": {
        "spool_id": ID,
        "seq": 2,
        "at": AT,
        "type": "trip",
        "detail": {"round": 2, "cause": "order", "command_id": ID, "step_s": -3},
    },
    "ack": {"command_id": ID, "step": "armed", "code": None, "at": AT, "uptime_s": 61, "detail": DETAIL},
}
KINDS = st.sampled_from(sorted(EXAMPLES))
#: JSON of every kind, whole numbers of any size, fractions, and texts with NUL and halves of characters.
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.just(10**400)
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=20)
    | st.sampled_from([AT, ID, SESSION, "\x00", "\ud800", "x" * 500]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


def as_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def places_in(value: Any) -> list[tuple[str | int, ...]]:
    """List where in a JSON value something else could stand."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((name, *rest) for name, part in inner for rest in places_in(part))]


def put(value: Any, place: tuple[str | int, ...], new: Any) -> Any:
    if not place:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place[0]] = put(value[place[0]], place[1:], new)
    return changed


def numbers_and_texts_in(value: Any) -> list[Any]:
    match value:
        case dict():
            return [leaf for pair in value.items() for part in pair for leaf in numbers_and_texts_in(part)]
        case list():
            return [leaf for part in value for leaf in numbers_and_texts_in(part)]
        case _:
            return [value]


def check_parsed_or_refused(kind: str, payload: bytes) -> None:
    """Read a payload; what is read must be fit to be stored, what is refused must say why in short."""
    try:
        message = parse_up(kind, payload)
    except UnreadableError as error:
        reason = str(error)
    else:
        assert type(message) is UP_MODELS[kind]
        for leaf in numbers_and_texts_in(json.loads(message.model_dump_json())):
            assert not isinstance(leaf, float)
            assert not isinstance(leaf, int) or abs(leaf) <= 2**62
            assert not isinstance(leaf, str) or "\x00" not in leaf
        reason = "it could be read"
    assert 0 < len(reason.encode()) <= 1600


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_every_kind_that_a_terminal_writes_is_read(kind: str) -> None:
    message = parse_up(kind, as_bytes(EXAMPLES[kind]))
    assert type(message) is UP_MODELS[kind]


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_unknown_members_are_ignored(kind: str) -> None:
    told = EXAMPLES[kind]
    assert parse_up(kind, as_bytes({**told, "weather": {"wind": 1.5}})) == parse_up(kind, as_bytes(told))


@given(KINDS, st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(kind: str, payload: bytes) -> None:
    check_parsed_or_refused(kind, payload)


@given(KINDS, JSON_VALUES)
def test_any_json_is_read_or_refused(kind: str, value: Any) -> None:
    check_parsed_or_refused(kind, as_bytes(value))


@settings(max_examples=300)
@given(KINDS, JSON_VALUES, st.data())
def test_a_message_with_anything_at_any_place_is_read_or_refused(kind: str, value: Any, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(places_in(EXAMPLES[kind])))
    check_parsed_or_refused(kind, as_bytes(put(EXAMPLES[kind], place, value)))


@settings(max_examples=200)
@given(KINDS, st.data(), st.binary(min_size=1, max_size=4))
def test_a_message_with_garbled_bytes_is_read_or_refused(kind: str, data: st.DataObject, garble: bytes) -> None:
    whole = as_bytes(EXAMPLES[kind])
    at = data.draw(st.integers(0, len(whole)))
    check_parsed_or_refused(kind, whole[:at] + garble + whole[at + len(garble) :])
    check_parsed_or_refused(kind, whole[:at])


def death_with(extra: bytes) -> bytes:
    return b'{"session":"' + SESSION.encode() + b'","more":' + extra + b"}"


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        (b'"\\u0000"', r"U\+0000"),
        (b'"\x00"', "control character"),
        (b'"\\ud800"', "Invalid JSON"),
        (b'"\\udc00\\ud800"', "Invalid JSON"),
        (b'"\xed\xa0\x80"', "Invalid JSON"),
        (b'"\xff"', "Invalid JSON"),
        (b"9" * 5000, "number out of range"),
        (b"[" * 8000 + b"]" * 8000, "recursion limit"),
        (b'{"a":' * 2500 + b"1" + b"}" * 2500, "recursion limit"),
        (b"1,", "Invalid JSON"),
        (b'"', "Invalid JSON"),
    ],
    ids=lambda value: value[:20],
)
def test_what_cannot_be_stored_is_refused_even_where_it_would_be_ignored(extra: bytes, why: str) -> None:
    with pytest.raises(UnreadableError, match=why):
        parse_up("death", death_with(extra))


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"7", b'"text"', b"\xef\xbb\xbf{}", b"{} {}"])
@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_what_is_no_object_is_refused(kind: str, payload: bytes) -> None:
    with pytest.raises(UnreadableError, match="payload"):
        parse_up(kind, payload)


def test_sixteen_kibibytes_are_read_and_one_byte_more_is_not() -> None:
    spare = MAX_PAYLOAD_BYTES - len(death_with(b'""'))
    largest = death_with(b'"' + b"x" * spare + b'"')
    assert len(largest) == 16 * 1024
    assert parse_up("death", largest).session == SESSION
    with pytest.raises(UnreadableError, match="16385 bytes; at most 16384"):
        parse_up("death", largest + b" ")


def test_a_refusal_names_the_place_and_stays_short() -> None:
    slots = {"x" * 5000: 1}
    with pytest.raises(UnreadableError, match=r"^slots\.x") as refused:
        parse_up("birth", as_bytes({**EXAMPLES["birth"], "slots": slots}))
    assert len(str(refused.value)) == 400
    with pytest.raises(UnreadableError, match=r"^state\.rounds: String should match pattern"):
        parse_up("report", as_bytes(put(REPORT, ("state", "rounds"), "2-------")))


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("death", ("session",), SESSION + "\n"),
        ("death", ("session",), SESSION.upper()),
        ("heartbeat", ("uptime_s",), 60.0),
        ("heartbeat", ("uptime_s",), True),
        ("heartbeat", ("uptime_s",), "60"),
        ("heartbeat", ("uptime_s",), -1),
        ("heartbeat", ("uptime_s",), 2**40 + 1),
        ("heartbeat", ("echo",), "x" * 65),
        ("heartbeat", ("state", "control_enabled"), 1),
        ("heartbeat", ("state", "order_no"), 2**32),
        ("report", ("seq",), 0),
        ("report", ("supplied_wh",), -1),
        ("report", ("supplied_wh",), 2**62 + 1),
        ("report", ("meters",), [METER] * 17),
        ("report", ("spool_id",), "1"),
        ("event", ("type",), "gossip"),
        ("event", ("detail", "round"), 9),
        ("event", ("detail", "round"), 0),
        ("ack", ("step",), "verified"),
        ("birth", ("results", 0, "step"), "armed"),
        ("birth", ("results",), EXAMPLES["birth"]["results"] * 33),
        ("birth", ("slots",), {f"slot-{number}": 1 for number in range(33)}),
    ],
)
def test_a_member_out_of_its_bounds_is_refused(kind: str, place: tuple[str | int, ...], value: Any) -> None:
    with pytest.raises(UnreadableError, match=str(place[0])):
        parse_up(kind, as_bytes(put(EXAMPLES[kind], place, value)))


@pytest.mark.parametrize(
    ("moment", "why"),
    [
        ("2026-01-31T16:00:00.000+08:00", "times are UTC"),
        ("2026-01-31T08:00:00.000", "timezone"),
        ("2026-01-31", "at: "),
        ("2026-02-30T08:00:00.000Z", "at: "),
        (1_769_846_400, "at: "),
        ("1769846400", "at: "),
        ("-1", "at: "),
    ],
)
def test_a_moment_that_is_no_utc_time_is_refused(moment: Any, why: str) -> None:
    with pytest.raises(UnreadableError, match=why):
        parse_up("ack", as_bytes({**EXAMPLES["ack"], "at": moment}))


MOMENTS = st.datetimes(timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
UUIDS = st.uuids()
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=64)
COUNTERS = st.integers(0, 2**62)
WATTS = st.integers(-(2**40), 2**40)
ROUNDS = st.text("01-", min_size=8, max_size=8)
ENERGIES = st.integers(-(2**62), 2**62)
SESSIONS = st.text("0123456789abcdef", min_size=32, max_size=32)
STATES = st.builds(
    messages.State,
    paid_until_wh=ENERGIES,
    remaining_wh=ENERGIES,
    order_no=st.integers(0, 2**32 - 1),
    alarm_wh=ENERGIES,
    trip_wh=ENERGIES,
    limit_w=st.none() | WATTS,
    rounds=ROUNDS,
)
DETAILS = st.builds(
    messages.AckDetail,
    nonce=st.none() | WORDS,
    active_power_w=st.none() | WATTS,
    rounds=st.none() | ROUNDS,
    order_no=st.none() | st.integers(0, 2**32 - 1),
    guarantee=st.none() | st.sampled_from(messages.Guarantee),
    until=st.none() | MOMENTS,
    note=st.none() | WORDS,
)
RESULTS = st.builds(
    messages.CommandResult,
    command_id=UUIDS,
    code=st.none() | st.sampled_from(messages.RefusalCode),
    at=MOMENTS,
    detail=DETAILS,
)
TOLD = {
    "birth": st.builds(
        messages.Birth,
        session=SESSIONS,
        boot=COUNTERS,
        uptime_s=st.integers(0, 2**40),
        at=MOMENTS,
        firmware=WORDS,
        spool=st.builds(messages.SpoolRange, id=UUIDS, first=COUNTERS, last=COUNTERS),
        slots=st.dictionaries(st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True), COUNTERS, max_size=3),
        state=STATES,
        results=st.lists(RESULTS, max_size=2),
    ),
    "death": st.builds(messages.Death, session=SESSIONS),
    "heartbeat": st.builds(
        messages.Heartbeat,
        session=SESSIONS,
        uptime_s=st.integers(0, 2**40),
        at=MOMENTS,
        echo=st.none() | WORDS,
        active_power_w=st.none() | WATTS,
        state=STATES,
    ),
    "report": st.builds(
        messages.Report,
        spool_id=UUIDS,
        seq=st.integers(1, 2**62),
        at=MOMENTS,
        uptime_s=st.integers(0, 2**40),
        supplied_wh=COUNTERS,
        active_power_w=WATTS,
        meters=st.lists(
            st.builds(
                messages.MeterReading,
                meter_no=WORDS,
                active_import_wh=st.builds(
                    messages.RateRegisters,
                    sharp=COUNTERS,
                    peak=COUNTERS,
                    flat=COUNTERS,
                    valley=COUNTERS,
                    total=COUNTERS,
                ),
                reactive_import_varh=COUNTERS,
                reactive_export_varh=COUNTERS,
                max_demand_w=WATTS,
                max_demand_at=MOMENTS,
            ),
            max_size=2,
        ),
        state=STATES,
    ),
    "event": st.builds(
        messages.Event,
        spool_id=UUIDS,
        seq=st.integers(1, 2**62),
        at=MOMENTS,
        detail=st.builds(
            messages.EventDetail,
            round=st.none() | st.integers(1, 8),
            cause=st.none() | WORDS,
            command_id=st.none() | UUIDS,
            code=st.none() | st.sampled_from(messages.RefusalCode),
            step_s=st.none() | st.integers(-(2**40), 2**40),
        ),
    ),
    "ack": st.builds(
        messages.Ack,
        command_id=st.none() | UUIDS,
        code=st.none() | st.sampled_from(messages.RefusalCode),
        at=MOMENTS,
        uptime_s=st.integers(0, 2**40),
        detail=DETAILS,
    ),
}
TOLD["backfill"] = TOLD["report"]


@settings(max_examples=200, deadline=None)
@given(KINDS.flatmap(lambda kind: st.tuples(st.just(kind), TOLD[kind])))
def test_what_a_terminal_writes_is_read_as_it_was_meant(told: tuple[str, Message]) -> None:
    kind, message = told
    payload = encode(message)
    if b"\\u0000" in payload:  # a text that spells the escape out is refused as if it were one
        with pytest.raises(UnreadableError):
            parse_up(kind, payload)
    else:
        assert parse_up(kind, payload) == message


DOWN = [
    messages.Receipt(spool_id=UUID(ID), upto=9, missing=[[2, 3]]),
    messages.Receipt(spool_id=UUID(ID), upto=0),
    messages.ClockChallenge(at=datetime(2026, 1, 31, 8, tzinfo=UTC), challenge="c"),
    Request(want="resend", from_seq=2, to_seq=3),
    Request(want="state"),
    messages.CommandClaims(
        id=UUID(ID),
        terminal_id="SH-0001",
        op="trip",
        args={"round": 2},
        slot="round-2",
        version=5,
        step=messages.Step.ARM,
        issued_at=datetime(2026, 1, 31, 8, tzinfo=UTC),
        expires_at=datetime(2026, 1, 31, 8, 1, tzinfo=UTC),
        session=SESSION,
        max_uptime_s=160,
        reason="停电",
    ),
]


@pytest.mark.parametrize("message", DOWN, ids=lambda message: type(message).__name__)
def test_what_a_terminal_is_told_is_read_as_it_was_meant(message: Message) -> None:
    assert type(message).model_validate_json(encode(message)) == message


def test_a_message_is_written_without_what_is_not_set_and_with_milliseconds() -> None:
    moment = datetime(2026, 1, 31, 8, 0, 0, 1999, tzinfo=UTC)
    assert encode(messages.ClockChallenge(at=moment, challenge="电")) == (
        '{"at":"2026-01-31T08:00:00.001Z","challenge":"电"}'.encode()
    )
    assert encode(Request(want="resend", from_seq=2)) == b'{"want":"resend","from":2}'


ARGS: dict[str, dict[str, Any]] = {
    "keys": {"statement": "e30.e30.c2ln"},
    "credit": {
        "order_no": 1,
        "mode": "append",
        "value_wh": 60_024_600,
        "paid_until_wh": 60_024_600,
        "alarm_wh": 1,
        "trip_wh": 0,
    },
    "control": {"enabled": True, "mode": "local"},
    "warn": {"stage": "written", "text": {"zh": "停电通知", "en": "Notice"}, "until": AT},
    "limit": {"power_w": 300_000, "alarm_delay_min": 15, "until": AT, "safe_load_w": 40_000},
    "trip": {"round": 8, "alarm_delay_min": 0, "limit_min": 30},
    "close": {"round": 1, "manner": "direct"},
    "guarantee": {"on": True, "until": AT},
    "configure": {"report_interval_s": 900, "trip_order": [2, 1], "alarm_hours": "01" * 12},
}


@pytest.mark.parametrize("op", list(messages.Op))
def test_the_arguments_of_every_operation_are_read_as_they_were_meant(op: messages.Op) -> None:
    read = ARGS_MODELS[op].model_validate_json(as_bytes(ARGS[op]))
    assert json.loads(encode(read)).items() >= ARGS[op].items()


@pytest.mark.parametrize(
    ("op", "wrong"),
    [
        ("credit", {"order_no": 0}),
        ("credit", {"value_wh": 1.5}),
        ("limit", {"power_w": -1}),
        ("limit", {"alarm_delay_min": 16}),
        ("trip", {"round": 0}),
        ("trip", {"round": 9}),
        ("close", {"manner": "gently"}),
        ("warn", {"text": {"zh": "电" * 401, "en": "Notice"}}),
        ("configure", {"trip_order": [1] * 9}),
        ("configure", {"alarm_hours": "1" * 23}),
    ],
)
def test_arguments_out_of_their_bounds_are_refused(op: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ARGS_MODELS[messages.Op(op)].model_validate_json(as_bytes({**ARGS[op], **wrong}))


@given(st.sampled_from(list(messages.Op)), JSON_VALUES)
@example(messages.Op.TRIP, {"round": 10**400})
def test_any_arguments_are_read_or_refused(op: messages.Op, value: Any) -> None:
    try:
        read = ARGS_MODELS[op].model_validate_json(as_bytes(value))
    except ValidationError:
        return
    assert ARGS_MODELS[op].model_validate_json(encode(read)) == read


def test_both_sides_of_the_contract_speak_the_same_words() -> None:
    assert [*command_rules.Op] == [*messages.Op]
    assert [*command_rules.AckStep] == [*messages.AckStep]
    assert command_rules.PASSING_REFUSALS == messages.PASSING_REFUSALS
    assert [*customer_rules.ControlMode] == [*messages.ControlMode]
    assert command_rules.ARM_VALID_S == messages.ARM_VALID_S
    assert set(ARGS_MODELS) == set(messages.Op)
