"""A terminal's credential as brokers keep it."""

import pytest

from app.terminals.rules import mosquitto_hash, mosquitto_lines, mosquitto_users


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


def test_a_list_of_users_is_read_as_it_was_written() -> None:
    users = {"FK-0202": "$7$101$b$b", "FK-0201": "$7$101$a$a"}
    written = mosquitto_lines(users)
    assert written == "FK-0201:$7$101$a$a\nFK-0202:$7$101$b$b\n"
    assert mosquitto_users(f"# by hand\n\n{written}nonsense\n") == users


@pytest.mark.parametrize("name", ["", "a:b", "a\nb"])
def test_a_name_that_would_be_read_as_something_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a user"):
        mosquitto_lines({name: "$7$101$a$a"})
