"""Settings are typed, documented and bounded; secrets have no default, and production keeps real time."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.clock import Clock
from app.settings import Settings

NEEDED = {
    "DATABASE_URL": "postgresql+psycopg://wattgate_app:quiet@host/wattgate",
    "TOKEN_SECRET": "a secret of the tests, long enough to sign with",
    "SIGNING_KEY_FILE": "signing.pem",
}
FAST = {"CLOCK_FACTOR": "60", "CLOCK_STARTED_AT": "2026-03-01T08:00:00Z", "CLOCK_SHOWN_AT": "2030-01-01T00:00:00Z"}


@pytest.fixture(autouse=True)
def only_the_tests_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"WATTGATE_{name.upper()}", raising=False)


def settings_from(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(f"WATTGATE_{name}", value)
    return Settings()


def refused_names(error: pytest.ExceptionInfo[ValidationError]) -> set[object]:
    return {".".join(map(str, one["loc"])) for one in error.value.errors()}


def test_production_is_the_default_and_needs_no_more_than_the_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(monkeypatch, NEEDED)
    assert settings.environment == "production"
    assert settings.signing_key_file == Path("signing.pem")
    assert settings.clock == Clock()


@pytest.mark.parametrize("missing", sorted(NEEDED))
def test_a_missing_secret_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    with pytest.raises(ValidationError) as error:
        settings_from(monkeypatch, {name: value for name, value in NEEDED.items() if name != missing})
    assert refused_names(error) == {missing.lower()}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKEN_SECRET", "x" * 31),
        ("DATABASE_POOL_SIZE", "0"),
        ("DATABASE_POOL_SIZE", "201"),
        ("BROKER_PORT", "65536"),
        ("HTTP_PORT", "0"),
        ("CLOCK_FACTOR", "0"),
        ("REPORT_INTERVAL_S", "0"),
        ("ENVIRONMENT", "staging"),
        ("TIME_ZONE", "Mars/Olympus"),
        ("CHEQUE_OVERDUE_DAYS", "0"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(ValidationError) as error:
        settings_from(monkeypatch, NEEDED | {name: value})
    assert refused_names(error) == {name.lower()}


def test_a_token_secret_of_32_characters_is_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(monkeypatch, NEEDED | {"TOKEN_SECRET": "x" * 32})
    assert settings.token_secret.get_secret_value() == "x" * 32


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = repr(settings_from(monkeypatch, NEEDED | {"BROKER_PASSWORD": "whisper", "MIGRATION_URL": "owner:hush"}))
    assert not [secret for secret in ("quiet", "long enough", "whisper", "hush") if secret in shown]


@pytest.mark.parametrize(
    "moved",
    [
        FAST,
        {"CLOCK_FACTOR": "60"},
        {"CLOCK_STARTED_AT": FAST["CLOCK_STARTED_AT"]},
        {"CLOCK_SHOWN_AT": FAST["CLOCK_SHOWN_AT"]},
    ],
    ids=["fast and moved", "fast", "started elsewhere", "showing another time"],
)
def test_production_refuses_a_clock_that_does_not_keep_real_time(
    monkeypatch: pytest.MonkeyPatch, moved: dict[str, str]
) -> None:
    with pytest.raises(ValidationError, match="production keeps real time"):
        settings_from(monkeypatch, NEEDED | moved)


@pytest.mark.parametrize("environment", ["demo", "test"])
def test_other_environments_may_run_fast(monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    settings = settings_from(monkeypatch, NEEDED | FAST | {"ENVIRONMENT": environment})
    assert settings.clock == Clock(
        factor=60,
        started_at=datetime(2026, 3, 1, 8, 0, tzinfo=UTC),
        shown_at=datetime(2030, 1, 1, tzinfo=UTC),
    )


def test_a_fast_clock_needs_the_moment_at_which_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="needs the moment at which it started"):
        settings_from(monkeypatch, NEEDED | {"ENVIRONMENT": "demo", "CLOCK_FACTOR": "60"})


@pytest.mark.parametrize("environment", ["production", "demo"])
def test_a_moment_without_a_time_zone_is_refused(monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    moment = "2026-03-01T08:00:00"
    naive = {"ENVIRONMENT": environment, "CLOCK_STARTED_AT": moment, "CLOCK_SHOWN_AT": moment}
    with pytest.raises(ValidationError) as error:
        settings_from(monkeypatch, NEEDED | naive)
    assert refused_names(error) == {"clock_started_at", "clock_shown_at"}


def test_settings_are_never_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(monkeypatch, NEEDED)
    with pytest.raises(ValidationError, match="frozen"):
        settings.http_port = 80  # type: ignore[misc]


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_described(name: str) -> None:
    assert Settings.model_fields[name].description


@pytest.mark.parametrize(
    ("written", "brokers"),
    [
        ("nats-1", (("nats-1", 8883),)),
        ("nats-1, nats-2:8884", (("nats-1", 8883), ("nats-2", 8884))),
        ("::1", (("::1", 8883),)),
        ("[::1]:8884", (("::1", 8884),)),
    ],
)
def test_one_broker_or_several_are_named_with_their_ports(written: str, brokers: tuple[tuple[str, int], ...]) -> None:
    named = Settings.model_construct(broker_host=written, broker_port=8883)
    assert named.brokers == brokers
