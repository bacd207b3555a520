"""A terminal's credential as brokers keep it."""

import pytest

from app.terminals.rules import mosquitto_hash


def test_a_credential_is_kept_as_mosquittos_own_tool_would_keep_it() -> None:
    # Made by `mosquitto_passwd` 2.0.11 for the password "a".
    made = (
        "$7$101$Wt9YWsEBk4n1Pkd7$"
        "XcQLURjU6A5WgxYM44DgXflYYTjs7oTDs/1xckYhaGLj8RdiLHmFzibu1AeGvaJpcS/dmqkfKuA02vk0Z/5TqA=="
    )
    assert mosquitto_hash("a", salt=bytes.fromhex("5adf585ac1019389f53e477b")) == made


def test_a_salt_that_mosquitto_cannot_read_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes; Mosquitto reads 12"):
        mosquitto_hash("a", salt=bytes(16))
