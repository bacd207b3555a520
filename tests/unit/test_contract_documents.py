"""The documents for terminal makers say what the code does: same bytes, valid schemas, examples that hold."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from app.mqtt import topics
from app.mqtt.documents import SCHEMAS, asyncapi, documents, schema, write
from app.mqtt.messages import ARGS_MODELS, CommandClaims, UnreadableError, encode, parse_up

DOCS = Path(__file__).parents[2] / "docs"
_EXAMPLE = re.compile(r"```json ([a-z-]+)\n(.+?)\n```", re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """Return the examples of the terminal makers' document: the kind that the fence names, and the text."""
    return _EXAMPLE.findall((DOCS / "terminal-protocol.md").read_text(encoding="utf-8"))


def name_of_schema(kind: str) -> str:
    return {"backfill": "report"}.get(kind, kind)


def test_the_files_in_docs_are_what_the_models_give_now() -> None:
    expected = documents()
    found = {f"schemas/{path.name}" for path in (DOCS / "schemas").iterdir()} | {"asyncapi.yaml"}

    assert found == set(expected), "run: python -m app.mqtt.documents docs"
    for name, text in expected.items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, f"{name}: run python -m app.mqtt.documents docs"


def test_writing_removes_a_schema_of_a_message_that_is_no_more(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    gone = tmp_path / "schemas" / "gone.schema.json"
    gone.write_text("{}")

    write(tmp_path)

    assert not gone.exists()
    assert (tmp_path / "schemas" / "birth.schema.json").exists()


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_json_schema_2020_12(name: str) -> None:
    found = schema(name)

    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert not list(unresolved(found))


def test_every_kind_has_an_example() -> None:
    told = {kind for kind, _ in examples()}

    assert told >= {*topics.UP_KINDS, "receipt", "clock", "request", "command-claims"}
    ops = {json.loads(text)["op"] for kind, text in examples() if kind == "command-claims"}
    assert ops == set(ARGS_MODELS)


@pytest.mark.parametrize(("kind", "text"), examples())
def test_an_example_is_read_by_the_code_and_holds_to_its_schema(kind: str, text: str) -> None:
    message = read(kind, text)
    validator = Draft202012Validator(schema(name_of_schema(kind)))

    validator.validate(json.loads(text))
    validator.validate(json.loads(encode(message)))


@pytest.mark.parametrize(("kind", "text"), examples())
def test_a_broken_example_is_refused_by_code_and_schema_alike(kind: str, text: str) -> None:
    validator = Draft202012Validator(schema(name_of_schema(kind)))
    whole = json.loads(text)
    required = schema(name_of_schema(kind))["required"]
    assert required

    for member in required:
        without = {name: value for name, value in whole.items() if name != member}
        assert not validator.is_valid(without), member
        with pytest.raises(ValueError, match=member):
            read(kind, json.dumps(without))
        wrong = {**whole, member: 1.5}
        assert not validator.is_valid(wrong), member
        with pytest.raises(ValueError, match=member):
            read(kind, json.dumps(wrong))


def test_arguments_of_another_operation_do_not_hold_to_the_schema_of_claims() -> None:
    claims = next(json.loads(text) for kind, text in examples() if kind == "command-claims")
    validator = Draft202012Validator(schema("command-claims"))

    assert not validator.is_valid({**claims, "op": "trip", "args": {"round": 9}})
    assert not validator.is_valid({**claims, "op": "limit", "args": {"power_w": -1}})


def test_a_moment_is_utc_in_code_and_schema() -> None:
    beat = next(json.loads(text) for kind, text in examples() if kind == "heartbeat")
    elsewhere = {**beat, "at": "2026-03-02T08:00:00.000+08:00"}

    assert not Draft202012Validator(schema("heartbeat")).is_valid(elsewhere)
    with pytest.raises(UnreadableError, match="UTC"):
        parse_up("heartbeat", json.dumps(elsewhere).encode())


def test_asyncapi_has_every_kind_on_its_topic() -> None:
    document = asyncapi()
    addresses = {name: channel["address"] for name, channel in document["channels"].items()}
    actions = {
        operation["channel"]["$ref"].rpartition("/")[2]: operation["action"]
        for operation in document["operations"].values()
    }

    assert document["asyncapi"] == "3.0.0"
    assert addresses == {
        **{kind: topics.up("{terminal_id}", kind) for kind in topics.UP_KINDS},
        **{kind: topics.down("{terminal_id}", kind) for kind in topics.DOWN_KINDS},
    }
    assert actions == {
        **dict.fromkeys(topics.UP_KINDS, "receive"),
        **dict.fromkeys(topics.DOWN_KINDS, "send"),
    }
    assert set(document["components"]["messages"]) == {*topics.UP_KINDS, *topics.DOWN_KINDS}
    bindings = document["components"]["operationBindings"]["at_least_once"]["mqtt"]
    assert (bindings["qos"], bindings["retain"]) == (1, False)


def test_every_reference_of_asyncapi_resolves() -> None:
    written = yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))

    assert len(list(references(written))) > 2 * len(topics.UP_KINDS)
    assert not list(unresolved(written))


def test_asyncapi_describes_what_is_inside_the_signature() -> None:
    signed = asyncapi()["components"]["messages"]["command"]["payload"]

    assert signed["x-jws-header"]["alg"] == "EdDSA"
    assert signed["x-jws-claims"]["$ref"].endswith("/CommandClaims")
    assert set(signed["x-jws-args"]) == set(ARGS_MODELS)


def read(kind: str, text: str) -> Any:
    if kind in topics.UP_KINDS:
        return parse_up(kind, text.encode())
    message = SCHEMAS[kind].model_validate_json(text)
    if isinstance(message, CommandClaims):
        ARGS_MODELS[next(op for op in ARGS_MODELS if op == message.op)].model_validate_json(json.dumps(message.args))
    return message


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def unresolved(document: dict[str, Any]) -> Iterator[str]:
    for reference in references(document):
        part: Any = document
        try:
            for step in reference.removeprefix("#/").split("/"):
                part = part[step]
        except (KeyError, TypeError):
            yield reference
