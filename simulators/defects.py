"""Terminals that are wrong in one place each, so that the conformance kit can be seen to find it."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import jwt

from app.mqtt.messages import (
    ARM_VALID_S,
    AckDetail,
    AckStep,
    CommandClaims,
    CommandResult,
    CreditArgs,
    Guarantee,
    LimitArgs,
    Message,
    Receipt,
    RefusalCode,
    Step,
    TerminalClock,
)
from app.mqtt.signing import ALGORITHM, Verified, public_key_of
from app.mqtt.site_codes import SiteCode
from simulators.commands import CommandDesk, _UnderWay
from simulators.device import Device, Outgoing
from simulators.keypad import Keypad, Typed
from simulators.load_control import LoadControl
from simulators.memory import Cause
from simulators.operations import Operations, RefusedError
from simulators.parts import Parts
from simulators.profile import Defect
from simulators.spool import Spool

_FAR = datetime(2199, 1, 1, tzinfo=UTC)
_FOR_EVER_S = 2**40
_SUPPLIED = re.compile(rb'("supplied_wh":\d+)')


def parts_with(defect: Defect | None) -> Parts:
    """Return what a terminal is built of that has this defect, or none."""
    return Parts() if defect is None else _PARTS[defect]


class _IgnoresVersions(CommandDesk):
    def _check_version(self, claims: CommandClaims) -> None:
        pass


class _IgnoresExpiry(CommandDesk):
    def _check_time(self, claims: CommandClaims, *, args: Message, is_cut: bool) -> None:
        super()._check_time(claims.model_copy(update={"expires_at": _FAR}), args=args, is_cut=is_cut)


class _IgnoresUptimeBound(CommandDesk):
    def _check_time(self, claims: CommandClaims, *, args: Message, is_cut: bool) -> None:
        super()._check_time(claims.model_copy(update={"max_uptime_s": _FOR_EVER_S}), args=args, is_cut=is_cut)


class _IgnoresSession(CommandDesk):
    def _check_time(self, claims: CommandClaims, *, args: Message, is_cut: bool) -> None:
        own = claims.model_copy(update={"session": self._device.session})
        super()._check_time(own, args=args, is_cut=is_cut)


class _BelievesUnsetClock(CommandDesk):
    def _check_time(self, claims: CommandClaims, *, args: Message, is_cut: bool) -> None:
        device = self._device
        if device.clock.quality(device.machine_s) is TerminalClock.UNSET and device.reading > claims.expires_at:
            raise RefusedError(RefusalCode.EXPIRED)
        super()._check_time(claims, args=args, is_cut=is_cut)


class _IgnoresSignature(CommandDesk):
    def _verified(self, token: bytes) -> Verified | None:
        _, body, _ = token.split(b".")
        claims = CommandClaims.model_validate_json(jwt.utils.base64url_decode(body))
        return Verified(claims, self._device.profile.service_key_id)


class _IgnoresKeyId(CommandDesk):
    def _verified(self, token: bytes) -> Verified | None:
        profile = self._device.profile
        key = public_key_of(profile.service_public_key_pem)
        try:
            claims = CommandClaims.model_validate_json(jwt.PyJWS().decode(token, key, algorithms=[ALGORITHM]))
        except jwt.PyJWTError:
            return super()._verified(token)
        return Verified(claims, profile.service_key_id)


class _IgnoresTerminalId(CommandDesk):
    def _verified(self, token: bytes) -> Verified | None:
        return self._device.trust.verify(token)


class _ActsTwice(CommandDesk):
    def _answered_before(self, claims: CommandClaims) -> bool:
        known = any(result.command_id == claims.id for result in self._device.kept.results)
        if known and claims.op == "warn":
            self._device.kept.slots[claims.slot] = claims.version - 1
        return False if known else super()._answered_before(claims)


class _RemembersForgeries(CommandDesk):
    def _refuse(self, command_id: UUID | None, refusal: RefusedError) -> None:
        if command_id is None or refusal.code is not RefusalCode.BAD_SIGNATURE:
            super()._refuse(command_id, refusal)
            return
        self._finish(
            CommandResult(command_id=command_id, step=AckStep.REFUSED, code=refusal.code, at=self._device.stamp)
        )


class _AnswersBeforeActing(CommandDesk):
    def _take(self, claims: CommandClaims, *, args: Message) -> None:
        super()._take(claims, args=args)
        if claims.step is Step.DO:
            self._device.remember(CommandResult(command_id=claims.id, step=AckStep.EXECUTED, at=self._device.stamp))


class _ArmsForEver(CommandDesk):
    def _is_valid(self, armed: _UnderWay) -> bool:
        return bool(armed.nonce)


class _ArmsLongerAtEachRepeat(CommandDesk):
    def _arm(self, claims: CommandClaims, *, args: Message) -> None:
        super()._arm(claims, args=args)
        until_s = self._device.machine_s + ARM_VALID_S
        self._under_way[claims.id] = replace(self._under_way[claims.id], valid_until_s=until_s)


class _OperatesWithoutNonce(CommandDesk):
    def _operate(self, claims: CommandClaims, *, args: Message) -> None:
        armed = self._under_way.get(claims.id)
        given = claims if armed is None else claims.model_copy(update={"nonce": armed.nonce})
        super()._operate(given, args=args)


class _OperatesAnything(CommandDesk):
    def _operate(self, claims: CommandClaims, *, args: Message) -> None:
        armed = self._under_way.get(claims.id)
        if armed is not None:
            self._under_way[claims.id] = _UnderWay(
                claims=claims, args=args, nonce=armed.nonce, valid_until_s=armed.valid_until_s
            )
        super()._operate(claims, args=args)


class _CutsInOneStep(CommandDesk):
    def _check(self, claims: CommandClaims, *, args: Message) -> None:
        try:
            super()._check(claims, args=args)
        except RefusedError as refusal:
            if refusal.note != "a cut is armed before it is operated":
                raise


class _RunsLateCuts(_ArmsForEver, _IgnoresExpiry):
    """Does not see that it was frozen: what was good when it fell asleep is good when it wakes."""


class _KeepsCutOverReconnect(CommandDesk):
    def session_lost(self) -> None:
        pass


class _CutsUnstoppably(CommandDesk):
    def _cancel(self, command: _UnderWay, code: RefusalCode) -> None:
        if not command.delayed or code is not RefusalCode.SUPERSEDED:
            super()._cancel(command, code)


class _TripsUnderGuarantee(Operations):
    def check_now(self, args: Message) -> None:
        try:
            super().check_now(args)
        except RefusedError as refusal:
            if refusal.code is not RefusalCode.GUARANTEE_ACTIVE:
                raise


class _LowersOnAppend(Operations):
    def check_now(self, args: Message) -> None:
        if not isinstance(args, CreditArgs):
            super().check_now(args)


class _AddsCredits(Operations):
    def _credit(self, args: CreditArgs) -> AckDetail:
        added = self._device.kept.paid_until_wh + args.value_wh
        return super()._credit(args.model_copy(update={"paid_until_wh": added}))


class _TakesOldOrders(CommandDesk):
    def _check(self, claims: CommandClaims, *, args: Message) -> None:
        kept = self._device.kept
        if isinstance(args, CreditArgs):
            kept.order_no = min(kept.order_no, args.order_no - 1)
        super()._check(claims, args=args)


class _HoldsRoundsUnderGuarantee(LoadControl):
    def begin_guarantee(self, kind: Guarantee, *, until: datetime | None = None) -> bool:
        held, self._device.kept.tripped = self._device.kept.tripped, {}
        begun = super().begin_guarantee(kind, until=until)
        self._device.kept.tripped = held
        return begun


class _NeverGuaranteesAlone(LoadControl):
    def begin_guarantee(self, kind: Guarantee, *, until: datetime | None = None) -> bool:
        return kind is Guarantee.AUTOMATIC or super().begin_guarantee(kind, until=until)


class _GuaranteesForEver(LoadControl):
    def end_guarantee(self) -> None:
        if self._device.kept.guarantee is not Guarantee.AUTOMATIC:
            super().end_guarantee()


class _TripsAllAtOnce(LoadControl):
    def cut(self, number: int, *, cause: Cause) -> bool:
        rounds = self._device.site.fitted if cause is Cause.ALLOWANCE else (number,)
        obeyed = [super(_TripsAllAtOnce, self).cut(each, cause=cause) for each in rounds]
        return all(obeyed)


class _ShedsSafeLoad(LoadControl):
    def _guard_limit(self) -> None:
        kept = self._device.kept
        limit, unsafe = kept.limit, {"safe_load_w": 0}
        if isinstance(limit, LimitArgs):
            kept.limit = limit.model_copy(update=unsafe)
        super()._guard_limit()
        kept.limit = limit


class _ForgetsOutcomes(Device):
    def remember(self, result: CommandResult) -> None:
        super().remember(result)
        self.kept.results = self.kept.results[-4:]


class _ForgetsAtPowerLoss(Device):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.kept.results = []
        self.kept.slots = {}


class _KeepsSession(Device):
    def open_session(self) -> str:
        super().open_session()
        self.session = "0123456789abcdef" * 2
        return self.session


class _ChangesSilently(Device):
    def _tell_state(self) -> None:
        self._told = self.state()
        super()._tell_state()


class _ReportsFloats(Device):
    def flush(self) -> list[Outgoing]:
        return [Outgoing(kind, _SUPPLIED.sub(rb"\1.0", payload)) for kind, payload in super().flush()]


class _Renumbering(Spool):
    def due_again(self, *, reading: datetime) -> Iterator[tuple[str, bytes]]:
        for kind, payload in super().due_again(reading=reading):
            told = json.loads(payload)
            yield kind, json.dumps({**told, "seq": told["seq"] + 1000}).encode()


class _Forgetful(Spool):
    def cover(self, receipt: Receipt, *, machine_s: float) -> None:
        super().cover(receipt.model_copy(update={"missing": []}), machine_s=machine_s)


class _OneSpoolId(Spool):
    def _restore(self) -> UUID:
        super()._restore()
        return UUID(int=7)


class _RenumbersSpool(Device):
    spool_kind = _Renumbering


class _ForgetsWhatIsMissing(Device):
    spool_kind = _Forgetful


class _KeepsSpoolId(Device):
    spool_kind = _OneSpoolId


class _TakesCodesTwice(Keypad):
    def _is_old(self, code: SiteCode) -> bool:
        return code.order_no < self._device.kept.order_no


class _CountsSlips(Keypad):
    def take(self, typed: str) -> Typed:
        said = super().take(typed)
        if said is Typed.MISTYPED:
            self._count_wrong()
        return said


class _TakesWrongCodes(Keypad):
    def _count_wrong(self) -> None:
        kept = self._device.kept
        super()._count_wrong()
        self._apply(SiteCode(order_no=kept.order_no + 1, paid_until_wh=kept.paid_until_wh + 1_000_000))


class _ListensToAllCodes(Keypad):
    def _is_deaf(self) -> bool:
        return False


class _ReleasesLaterCuts(Keypad):
    def _gives_back(self, code: SiteCode) -> bool:  # noqa: ARG002 - the signature of what it is wrong in
        return True


class _ReleasesWithoutFlag(Keypad):
    def _apply(self, code: SiteCode) -> None:
        super()._apply(replace(code, release_rounds=True))


_PARTS: dict[Defect, Parts] = {
    Defect.IGNORES_VERSIONS: Parts(desk=_IgnoresVersions),
    Defect.IGNORES_EXPIRY: Parts(desk=_IgnoresExpiry),
    Defect.IGNORES_UPTIME_BOUND: Parts(desk=_IgnoresUptimeBound),
    Defect.IGNORES_SESSION: Parts(desk=_IgnoresSession),
    Defect.IGNORES_SIGNATURE: Parts(desk=_IgnoresSignature),
    Defect.IGNORES_KEY_ID: Parts(desk=_IgnoresKeyId),
    Defect.IGNORES_TERMINAL_ID: Parts(desk=_IgnoresTerminalId),
    Defect.BELIEVES_UNSET_CLOCK: Parts(desk=_BelievesUnsetClock),
    Defect.ACTS_TWICE: Parts(desk=_ActsTwice),
    Defect.REMEMBERS_FORGERIES: Parts(desk=_RemembersForgeries),
    Defect.FORGETS_OUTCOMES: Parts(device=_ForgetsOutcomes),
    Defect.FORGETS_AT_POWER_LOSS: Parts(device=_ForgetsAtPowerLoss),
    Defect.ANSWERS_BEFORE_ACTING: Parts(desk=_AnswersBeforeActing),
    Defect.ARMS_FOR_EVER: Parts(desk=_ArmsForEver),
    Defect.ARMS_LONGER_AT_EACH_REPEAT: Parts(desk=_ArmsLongerAtEachRepeat),
    Defect.OPERATES_WITHOUT_NONCE: Parts(desk=_OperatesWithoutNonce),
    Defect.OPERATES_ANYTHING: Parts(desk=_OperatesAnything),
    Defect.CUTS_IN_ONE_STEP: Parts(desk=_CutsInOneStep),
    Defect.RUNS_LATE_CUTS: Parts(desk=_RunsLateCuts),
    Defect.KEEPS_CUT_OVER_RECONNECT: Parts(desk=_KeepsCutOverReconnect),
    Defect.CUTS_UNSTOPPABLY: Parts(desk=_CutsUnstoppably),
    Defect.TRIPS_UNDER_GUARANTEE: Parts(operations=_TripsUnderGuarantee),
    Defect.HOLDS_ROUNDS_UNDER_GUARANTEE: Parts(load_control=_HoldsRoundsUnderGuarantee),
    Defect.NEVER_GUARANTEES_ALONE: Parts(load_control=_NeverGuaranteesAlone),
    Defect.GUARANTEES_FOR_EVER: Parts(load_control=_GuaranteesForEver),
    Defect.TRIPS_ALL_AT_ONCE: Parts(load_control=_TripsAllAtOnce),
    Defect.SHEDS_SAFE_LOAD: Parts(load_control=_ShedsSafeLoad),
    Defect.LOWERS_ON_APPEND: Parts(operations=_LowersOnAppend),
    Defect.TAKES_OLD_ORDERS: Parts(desk=_TakesOldOrders),
    Defect.ADDS_CREDITS: Parts(operations=_AddsCredits),
    Defect.TAKES_RETAINED: Parts(takes_retained=True),
    Defect.RENUMBERS_SPOOL: Parts(device=_RenumbersSpool),
    Defect.FORGETS_WHAT_IS_MISSING: Parts(device=_ForgetsWhatIsMissing),
    Defect.KEEPS_SPOOL_ID: Parts(device=_KeepsSpoolId),
    Defect.KEEPS_SESSION: Parts(device=_KeepsSession),
    Defect.CHANGES_SILENTLY: Parts(device=_ChangesSilently),
    Defect.REPORTS_FLOATS: Parts(device=_ReportsFloats),
    Defect.TAKES_CODES_TWICE: Parts(keypad=_TakesCodesTwice),
    Defect.COUNTS_SLIPS: Parts(keypad=_CountsSlips),
    Defect.TAKES_WRONG_CODES: Parts(keypad=_TakesWrongCodes),
    Defect.LISTENS_TO_ALL_CODES: Parts(keypad=_ListensToAllCodes),
    Defect.RELEASES_LATER_CUTS: Parts(keypad=_ReleasesLaterCuts),
    Defect.RELEASES_WITHOUT_FLAG: Parts(keypad=_ReleasesWithoutFlag),
}
