"""Writes the contract for terminal makers from the models that the code uses: AsyncAPI 3.0 and JSON Schemas.

``python -m app.mqtt.documents docs`` writes ``docs/asyncapi.yaml`` and ``docs/schemas/``; the same models give the
same bytes, and a test holds the files to them.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import models_json_schema

from app.mqtt import messages, topics
from app.mqtt.keys import STATEMENT_TYPE, KeyStatement
from app.mqtt.messages import ARGS_MODELS, UP_MODELS, CommandClaims, Message
from app.mqtt.signing import ALGORITHM

VERSION = "1.0.0"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

DOWN_MODELS: dict[str, type[Message]] = {
    "receipt": messages.Receipt,
    "clock": messages.ClockChallenge,
    "request": messages.Request,
    "command": CommandClaims,
}
#: Every schema file by its name; ``backfill`` has the shape of ``report``, ``command`` that of its claims.
SCHEMAS: dict[str, type[Message]] = {
    **{kind: model for kind, model in UP_MODELS.items() if kind != "backfill"},
    **{kind: model for kind, model in DOWN_MODELS.items() if kind != "command"},
    "command-claims": CommandClaims,
    "key-statement": KeyStatement,
    **{f"args-{op}": model for op, model in ARGS_MODELS.items()},
}

_UTC = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$"
_COMPACT_JWS = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"
_BINDING = "0.2.0"

_SUMMARIES = {
    "birth": "First message after each connect: who the terminal is, what it holds, what it remembers.",
    "death": "Last will: the broker tells it when a connection ends without a goodbye.",
    "heartbeat": "The terminal lives; sent at its interval and at once when its state has changed.",
    "report": "What was supplied and what the meters read, at each interval and on demand.",
    "backfill": "A report told later than five minutes after it was made; it says nothing about now.",
    "event": "Something happened at the terminal.",
    "ack": "The answer to one step of a command.",
    "receipt": "What the service has stored for good, so that the terminal may forget it.",
    "clock": "The service's time and a challenge that the next heartbeat echoes.",
    "request": "A harmless read: report now, tell the state, or send numbers of the spool again.",
    "command": "Everything that changes the terminal, as a signed token.",
}


def documents() -> dict[str, str]:
    """Return the text of every document by its path inside the documentation folder."""
    texts = {"asyncapi.yaml": _as_yaml(asyncapi())}
    for name in SCHEMAS:
        texts[f"schemas/{name}.schema.json"] = json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"
    return texts


def write(folder: Path) -> None:
    """Write every document below ``folder`` and remove schemas of messages that are no more."""
    texts = documents()
    (folder / "schemas").mkdir(parents=True, exist_ok=True)
    for path in (folder / "schemas").glob("*.schema.json"):
        if f"schemas/{path.name}" not in texts:
            path.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one message, whole in itself."""
    model = SCHEMAS[name]
    args = ARGS_MODELS.values() if model is CommandClaims else ()
    shapes = _shapes([model, *args], ref="#/$defs/{model}")
    whole = {"$schema": DIALECT, "$id": f"urn:wattgate:terminal-protocol:v1:{name}", **shapes.pop(model.__name__)}
    if shapes:
        whole["$defs"] = shapes
    return whole


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of the whole contract, from the service's point of view."""
    kinds = [*(("up", kind) for kind in topics.UP_KINDS), *(("dn", kind) for kind in topics.DOWN_KINDS)]
    told: list[type[Message]] = [*UP_MODELS.values(), *DOWN_MODELS.values(), *ARGS_MODELS.values(), KeyStatement]
    models: dict[type[Message], Any] = dict.fromkeys(told)
    return {
        "asyncapi": "3.0.0",
        "id": "urn:wattgate:terminal-protocol:v1",
        "info": _info(),
        "defaultContentType": "application/json",
        "servers": {"broker": _server()},
        "channels": {kind: _channel(direction, kind) for direction, kind in kinds},
        "operations": {_operation_name(direction, kind): _operation(direction, kind) for direction, kind in kinds},
        "components": {
            "messages": {kind: _message(kind) for _, kind in kinds},
            "schemas": _shapes(models, ref="#/components/schemas/{model}"),
            "parameters": {"terminal_id": _terminal_id()},
            "securitySchemes": _security_schemes(),
            "operationBindings": {
                "at_least_once": {"mqtt": {"qos": topics.QOS, "retain": False, "bindingVersion": _BINDING}}
            },
        },
    }


def _shapes(models: Iterable[type[Message]], *, ref: str) -> dict[str, Any]:
    """Return the shapes of models, and of all that they hold, by their names."""
    _, found = models_json_schema([(model, "validation") for model in models], ref_template=ref)
    shapes: dict[str, Any] = json.loads(json.dumps(found["$defs"]))
    for shape in shapes.values():
        _tell_moments(shape)
    claims = shapes.get(CommandClaims.__name__)
    if claims is not None:
        claims["allOf"] = [
            {
                "if": {"properties": {"op": {"const": op.value}}, "required": ["op"]},
                "then": {"properties": {"args": {"$ref": ref.format(model=model.__name__)}}},
            }
            for op, model in ARGS_MODELS.items()
        ]
    return shapes


def _tell_moments(shape: Any) -> None:
    """Say of each moment what the models check with code: it is UTC."""
    if isinstance(shape, dict):
        if shape.get("format") == "date-time":
            shape["pattern"] = _UTC
        for inner in shape.values():
            _tell_moments(inner)
    elif isinstance(shape, list):
        for inner in shape:
            _tell_moments(inner)


def _info() -> dict[str, Any]:
    return {
        "title": "Terminal protocol v1",
        "version": VERSION,
        "description": (
            "The contract between Wattgate and a load-management terminal over MQTT 3.1.1 or 5. "
            "`terminal-protocol.md` beside this file says what both sides do with these messages. "
            f"Payloads are UTF-8 JSON of at most {topics.MAX_PAYLOAD_BYTES} bytes without floating point; "
            "unknown members are ignored. Nothing is ever retained."
        ),
    }


def _server() -> dict[str, Any]:
    return {
        "host": "{host}:{port}",
        "protocol": "secure-mqtt",
        "protocolVersion": "3.1.1",
        "description": (
            "Any MQTT broker. Clean session, keep-alive of at most 60 s, a last will on `up/death`. "
            "The client id and the user name of a terminal are its id."
        ),
        "variables": {
            "host": {"default": "broker.example", "description": "the broker's name, as its certificate says"},
            "port": {"default": "8883"},
        },
        "security": [{"$ref": "#/components/securitySchemes/password"}],
        "bindings": {"mqtt": {"cleanSession": True, "bindingVersion": _BINDING}},
    }


def _security_schemes() -> dict[str, Any]:
    return {
        "password": {
            "type": "userPassword",
            "description": "The credential that registration shows once, over TLS",
        },
    }


def _terminal_id() -> dict[str, Any]:
    return {
        "description": f"The terminal's id, matching `{topics.TERMINAL_ID_PATTERN}`",
        "examples": ["SH-PD-0001"],
    }


def _channel(direction: str, kind: str) -> dict[str, Any]:
    return {
        "address": f"lm/v1/{{terminal_id}}/{direction}/{kind}",
        "description": _SUMMARIES[kind],
        "parameters": {"terminal_id": {"$ref": "#/components/parameters/terminal_id"}},
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"}},
    }


def _operation_name(direction: str, kind: str) -> str:
    return f"{'receive' if direction == 'up' else 'send'}_{kind}"


def _operation(direction: str, kind: str) -> dict[str, Any]:
    return {
        "action": "receive" if direction == "up" else "send",
        "channel": {"$ref": f"#/channels/{kind}"},
        "summary": _SUMMARIES[kind],
        "messages": [{"$ref": f"#/channels/{kind}/messages/{kind}"}],
        "bindings": {"$ref": "#/components/operationBindings/at_least_once"},
    }


def _message(kind: str) -> dict[str, Any]:
    message: dict[str, Any] = {"name": kind, "summary": _SUMMARIES[kind]}
    if kind == "command":
        return {**message, "contentType": "application/jose", "payload": _signed()}
    model = (UP_MODELS | DOWN_MODELS)[kind]
    return {
        **message,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


def _signed() -> dict[str, Any]:
    """Describe the token: what a JSON Schema can say of its text, and what is inside its signature."""
    return {
        "type": "string",
        "pattern": _COMPACT_JWS,
        "maxLength": topics.MAX_PAYLOAD_BYTES,
        "description": (
            "Compact JWS (RFC 7515). The terminal accepts this algorithm and the keys that it trusts only. The "
            "payload is the claims as UTF-8 JSON; `args` has the shape that `op` names."
        ),
        "x-jws-header": {"alg": ALGORITHM, "kid": "id of a key that the terminal trusts", "typ": "lm-command+jws"},
        "x-jws-claims": {"$ref": f"#/components/schemas/{CommandClaims.__name__}"},
        "x-jws-args": {
            op.value: {"$ref": f"#/components/schemas/{model.__name__}"} for op, model in ARGS_MODELS.items()
        },
        "x-key-statement": {
            "jws-header": {"alg": ALGORITHM, "typ": STATEMENT_TYPE},
            "jws-payload": {"$ref": f"#/components/schemas/{KeyStatement.__name__}"},
        },
    }


def _as_yaml(document: dict[str, Any]) -> str:
    # Through JSON, so that no part is shared and the text has no anchors.
    plain = json.loads(json.dumps(document))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
