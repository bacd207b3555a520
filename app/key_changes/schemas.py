"""HTTP shapes of key changes: public halves and numbers only."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from app.key_changes.queries import Holding
from app.terminals.models import RecordedStatement


class StatementShown(BaseModel):
    serial: int = Field(examples=[3])
    keys: dict[str, str] = Field(
        description="the keys that may sign, by `kid`: 32 bytes in base64url",
        examples=[{"wattgate-2": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}],
    )
    issued_at: datetime
    recorded_at: datetime
    statement: str = Field(description="as terminals are sent it: a compact JWS, signed by the anchor")

    @classmethod
    def of(cls, kept: RecordedStatement) -> Self:
        return cls(
            serial=kept.serial,
            keys=kept.keys,
            issued_at=kept.issued_at,
            recorded_at=kept.recorded_at,
            statement=kept.statement,
        )


class HoldingShown(BaseModel):
    serial: int | None = Field(description="0: as pinned before the first statement; null: not known")
    has_told: bool = Field(description="false: it was registered with these keys, and has told nothing else since")
    terminals: int


class KeysShown(BaseModel):
    statements: list[StatementShown] = Field(description="newest first")
    terminals: list[HoldingShown] = Field(description="terminals in service, by the statement that they hold")
    on_the_way: dict[str, int] = Field(
        description="terminals that have not told of the last statement, by the state of their `keys` command",
        examples=[{"sent": 12, "refused": 1}],
    )

    @classmethod
    def of(cls, kept: list[RecordedStatement], holdings: list[Holding], on_the_way: dict[str, int]) -> Self:
        return cls(
            statements=[StatementShown.of(one) for one in kept],
            terminals=[HoldingShown(**one._asdict()) for one in holdings],
            on_the_way=on_the_way,
        )
