"""Only the topics of the protocol are topics."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.mqtt import topics
from app.mqtt.messages import UP_MODELS
from app.mqtt.topics import DOWN_KINDS, UP_KINDS, UpTopic, parse_up

TERMINAL_IDS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", min_size=4, max_size=32)


def test_a_terminals_topic_names_the_terminal_and_the_kind() -> None:
    assert parse_up("lm/v1/SH-0001/up/report") == UpTopic("SH-0001", "report")


@given(TERMINAL_IDS, st.sampled_from(UP_KINDS))
def test_every_topic_that_a_terminal_writes_to_is_read_back(terminal_id: str, kind: str) -> None:
    assert parse_up(topics.up(terminal_id, kind)) == (terminal_id, kind)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "lm/v1/SH-0001/up",
        "lm/v1/SH-0001/up/",
        "lm/v1/SH-0001/up/REPORT",
        "lm/v1/SH-0001/up/gossip",
        "lm/v1/SH-0001/up/report/2",
        "lm/v1/SH-0001/up/report\n",
        "lm/v1/SH-0001/dn/command",
        "lm/v2/SH-0001/up/report",
        "/lm/v1/SH-0001/up/report",
        "lm/v1/SH1/up/report",
        "lm/v1/" + "A" * 33 + "/up/report",
        "lm/v1/sh-0001/up/report",
        "lm/v1/SH-000\u0661/up/report",
        "lm/v1/+/up/report",
        "lm/v1/SH 0001/up/report",
    ],
)
def test_any_other_topic_is_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="not a topic of this protocol"):
        parse_up(topic)


def topic_again(topic: str) -> str:
    try:
        read = parse_up(topic)
    except ValueError as error:
        return f"refused: {error}"
    return topics.up(read.terminal_id, read.kind)


@given(st.text())
@example("lm/v1/SH-0001/up/report\x00")
def test_any_text_is_a_topic_of_the_protocol_or_refused(topic: str) -> None:
    assert topic_again(topic) == topic or topic_again(topic).startswith("refused: not a topic of this protocol")


def test_a_long_topic_is_refused_in_short() -> None:
    with pytest.raises(ValueError, match="not a topic") as refused:
        parse_up("x" * 60_000)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("kind", DOWN_KINDS)
def test_one_subscription_of_a_terminal_covers_whatever_is_sent_to_it(kind: str) -> None:
    assert topics.down("SH-0001", kind) == f"lm/v1/SH-0001/dn/{kind}"
    assert topics.all_down("SH-0001") == "lm/v1/SH-0001/dn/#"


def test_what_a_terminal_is_told_is_not_read_as_told_by_it() -> None:
    assert not set(UP_KINDS) & set(DOWN_KINDS)


def test_every_kind_that_a_terminal_writes_has_a_message() -> None:
    assert set(UP_KINDS) == set(UP_MODELS)
