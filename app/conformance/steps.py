"""What cases may say: a small closed vocabulary of steps, for a terminal and for a service on trial."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.conformance.spans import Span, WrittenSpan
from app.mqtt.messages import AckStep, ControlMode, EventType, Guarantee, RefusalCode, Step, TerminalStage

#: How long an answer may take where a case says nothing else.
PATIENCE = Span(10, 0)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,40}$")]
Position = Literal["closed", "tripped"]


class Words(BaseModel):
    """What belongs to a verb; a word that nobody knows is refused with those that there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_words(cls, written: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        unknown = [str(word) for word in written if word not in known] if isinstance(written, dict) else []
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: not known here; known are {', '.join(known)}")
        return written


class DeviceAction(StrEnum):
    """What a person, a rig or the simulator does to a terminal."""

    RECONNECT = "reconnect"
    OUTAGE = "outage"
    POWER_LOSS = "power_loss"
    POWER_LOSS_ON_NEXT_COMMAND = "power_loss_on_next_command"
    STORAGE_LOSS = "storage_loss"
    FREEZE = "freeze"
    UNSET_CLOCK = "unset_clock"


class ServiceAction(StrEnum):
    """What people do at a service."""

    SELL = "sell"
    ORDER_TRIP = "order_trip"
    STOP_DATABASE = "stop_database"
    START_DATABASE = "start_database"


class Send(Words):
    """A command, sound unless it is bent."""

    op: str = ""
    args: dict[str, Any] = {}
    name: Name | None = Field(default=None, alias="as")
    again: Name | None = Field(default=None, description="the same id, version and arguments as that command")
    step: Step = Step.DO
    version: Literal["next", "last", "old"] = "next"
    session: Literal["current", "previous", "other", "none"] = "current"
    expires_in: WrittenSpan = Span(0, 600)
    uptime: Literal["ample", "past", "none"] = "ample"
    signed: Literal["properly", "by_stranger", "under_foreign_key_id", "with_alg_none", "then_tampered"] = "properly"
    terminal: Literal["this", "another"] = "this"
    nonce: Literal["given", "wrong", "none"] = "given"
    codes_upto: Literal["held", "next"] | None = Field(default=None, description="cuts: `last_order_no`")
    slot: str | None = None
    retained: bool = False
    unknown_members: bool = False
    times: Annotated[int, Field(ge=1, le=100)] = 1

    @model_validator(mode="after")
    def _something_is_sent(self) -> Self:
        if not self.op and self.again is None:
            raise ValueError("say what is sent: op: credit, or again: the name of an earlier command")
        return self


class TypeCode(Words):
    """A site code at the keypad, sound unless it is bent."""

    name: Name | None = Field(default=None, alias="as")
    again: Name | None = Field(default=None, description="the same digits as that code")
    more_wh: Annotated[int, Field(ge=0, lt=2**34)] = 1_000_000
    release: bool = False
    lift: bool = False
    bent: Literal["no", "slipped", "by_stranger"] = "no"
    times: Annotated[int, Field(ge=1, le=10)] = 1


class Expect(Words):
    """An answer to a command."""

    answer: AckStep
    of: Name | None = Field(default=None, description="the last command when left out")
    code: RefusalCode | None = None
    detail: dict[str, Any] = {}
    as_before: bool = Field(default=False, description="with the moment and the detail of the outcome told before")
    within: WrittenSpan = PATIENCE

    @model_validator(mode="after")
    def _refusals_have_a_code(self) -> Self:
        if (self.answer is AckStep.REFUSED) != (self.code is not None):
            raise ValueError("answer: refused needs a code, and no other answer has one")
        return self


class ExpectEvent(Words):
    type: EventType
    detail: dict[str, Any] = {}
    within: WrittenSpan = PATIENCE


class ExpectMessage(Words):
    kind: Literal["birth", "death", "heartbeat", "report", "backfill", "event"]
    members: dict[str, Any] = {}
    session: Literal["current", "previous"] | None = None
    echo: Literal["last"] | None = None
    results: Annotated[int, Field(ge=0, le=32)] | None = None
    names: Name | None = Field(default=None, description="`results` hold the outcome of that command")
    does_not_name: Name | None = None
    new_spool: bool = Field(default=False, description="the spool has another id than before")
    first: bool = Field(default=False, description="nothing else came before it on this connection")
    within: WrittenSpan = PATIENCE


class Nothing(Words):
    answer: AckStep | None = None
    of: Name | None = None
    event: EventType | None = None
    kind: str | None = None
    during: WrittenSpan = Span(1, 0)


class StateWanted(Words):
    """Members of `state`; what is left out may be anything."""

    order_no: int | Literal["last"] | None = None
    paid_until: Name | Literal["unchanged"] | None = Field(default=None, description="as that command said")
    control_enabled: bool | None = None
    mode: ControlMode | None = None
    stage: TerminalStage | None = None
    limited: bool | None = None
    first_round: Position | None = None
    second_round: Position | None = None
    guarantee: Guarantee | None = None
    within: WrittenSpan = PATIENCE


class Count(Words):
    event: EventType
    times: Annotated[int, Field(ge=0, le=100)]


class Resent(Words):
    """What came before comes once more: under the same numbers, and as it was."""

    what: Literal["all", "missing"] = "all"
    within: WrittenSpan = PATIENCE


class ReceiptGiven(Words):
    upto: Literal["last"] = "last"
    missing: Literal["none", "newest", "two_newest"] = "none"


class Tell(Words):
    clock: Literal["now", "1970"] | None = None
    request: Literal["report", "state", "resend"] | None = None
    receipt: ReceiptGiven | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("tell one thing: clock, request or receipt")
        return self


class Device(Words):
    action: DeviceAction
    seconds: Annotated[int, Field(ge=0, le=60)] = 0


class _OneOf(Words):
    """A step is one verb; the validator says which there are."""

    @model_validator(mode="before")
    @classmethod
    def _known_words(cls, written: Any) -> Any:
        known = ", ".join(cls.model_fields)
        if not isinstance(written, dict) or len(written) != 1:
            raise ValueError(f"a step is one verb with what belongs to it; the verbs are {known}")
        verb = next(iter(written))
        if verb not in cls.model_fields:
            raise ValueError(f"{verb!r} is no verb; the verbs are {known}")
        return written

    @property
    def verb(self) -> str:
        return next(iter(self.model_fields_set))

    @property
    def said(self) -> Any:
        return getattr(self, self.verb)


class TerminalStep(_OneOf):
    send: Send | None = None
    cut: Send | None = Field(default=None, description="arm, wait for armed, operate, wait for executed")
    type_code: TypeCode | None = None
    expect: Expect | None = None
    expect_event: ExpectEvent | None = None
    expect_message: ExpectMessage | None = None
    expect_nothing: Nothing | None = None
    expect_resent: Resent | None = None
    state_is: StateWanted | None = Field(default=None, description="asked for now")
    state_becomes: StateWanted | None = None
    count: Count | None = None
    tell: Tell | None = None
    device: Device | None = None
    wait: WrittenSpan | None = None


class Connect(Words):
    echo: bool = True
    birth: bool = True
    first_kept: Annotated[int, Field(ge=0)] | None = Field(default=None, description="`spool.first` of the birth")


class TellUp(Words):
    report: list[int] = Field(default=[], description="numbers in this order, each always with the same payload")
    nonsense: Literal["no_json", "wrong_type", "float", "oversized", "unknown_kind"] | None = None
    heartbeat: Literal["with_echo", "without_echo"] | None = None
    ack: Name | None = None
    step: AckStep = AckStep.RECEIVED
    of_stranger: bool = Field(default=False, description="the ack is for a command that was never sent")


class ExpectReceipt(Words):
    upto: int
    missing: list[tuple[int, int]] = []
    within: WrittenSpan = PATIENCE


class ExpectDown(Words):
    """A frame of the service."""

    kind: Literal["clock", "request", "command"]
    want: Literal["report", "state", "resend"] | None = None
    op: str | None = None
    step: Step | None = None
    name: Name | None = Field(default=None, alias="as")
    same_id_as: Name | None = None
    within: WrittenSpan = PATIENCE


class NothingDown(Words):
    kind: Literal["receipt", "clock", "request", "command"]
    op: str | None = None
    during: WrittenSpan = Span(1, 0)


class ServiceStep(_OneOf):
    connect: Connect | None = None
    disconnect: Literal["goodbye", "vanish"] | None = None
    tell: TellUp | None = None
    expect_receipt: ExpectReceipt | None = None
    expect: ExpectDown | None = None
    expect_nothing: NothingDown | None = None
    service: ServiceAction | None = None
    wait: WrittenSpan | None = None


Needs: TypeAlias = Literal["one_round", "two_rounds", "load", "keypad"]


class TerminalCase(Words):
    name: Name
    proves: str
    section: str
    needs: list[Needs] = []
    steps: list[TerminalStep] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_given(self) -> Self:
        sent: set[str] = set()
        for number, step in enumerate(self.steps, start=1):
            said = step.said
            named = [getattr(said, word, None) for word in ("again", "of", "names", "does_not_name")]
            named += [said.paid_until if isinstance(said, StateWanted) and said.paid_until != "unchanged" else None]
            for name in named:
                if name is not None and name not in sent:
                    raise ValueError(f"step {number} speaks of {name!r}, which no earlier step has sent")
            if isinstance(said, Send):
                sent.add(said.again or said.name or said.op)
            if isinstance(said, TypeCode):
                sent.add(said.again or said.name or "code")
        return self

    @property
    def lives_s(self) -> float:
        """How many machine seconds pass while it waits; what lives for long may run on a hurried simulator."""
        spans = [step.said for step in self.steps if step.verb == "wait"]
        spans += [step.said.during for step in self.steps if step.verb == "expect_nothing"]
        spans += [step.said.within for step in self.steps if isinstance(step.said, StateWanted | Resent)]
        spans += [Span(step.said.seconds, 0) for step in self.steps if step.verb == "device"]
        return max((span.machine_s for span in spans), default=0)


class ServiceCase(Words):
    name: Name
    proves: str
    section: str
    steps: list[ServiceStep] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_given(self) -> Self:
        given: set[str] = set()
        for number, step in enumerate(self.steps, start=1):
            for word in ("ack", "same_id_as"):
                name = getattr(step.said, word, None)
                if name is not None and name not in given:
                    raise ValueError(f"step {number} speaks of {name!r}, which no earlier step has expected")
            if isinstance(step.said, ExpectDown) and step.said.name is not None:
                given.add(step.said.name)
        return self


AnyCase: TypeAlias = TerminalCase | ServiceCase
