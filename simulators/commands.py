"""Signed commands: who may order what, when, and how each step is answered.

The order of the checks is fixed: BAD_SIGNATURE, NOT_FOR_ME, DUPLICATE (id), UNSUPPORTED, OUT_OF_RANGE,
WRONG_SESSION, EXPIRED, CLOCK_UNSURE, DUPLICATE (order, statement), SUPERSEDED, GUARANTEE_ACTIVE, PRECONDITION,
BUSY, HARDWARE. What cannot be trusted is told first, what may pass with time last.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from app.mqtt.messages import (
    ARM_VALID_S,
    PASSING_REFUSALS,
    AckDetail,
    AckStep,
    CloseArgs,
    CommandClaims,
    CommandResult,
    CreditArgs,
    EventType,
    GuaranteeArgs,
    KeysArgs,
    Message,
    Op,
    RefusalCode,
    Step,
    TerminalClock,
    TripArgs,
)
from app.mqtt.signing import BadSignatureError, Verified, unverified_command_id
from simulators.device import Device
from simulators.operations import MAY_CUT, Operations, RefusedError, read_args, slot_of, until_of

#: So many commands may be selected, delayed or waiting at once.
UNDER_WAY_AT_MOST = 8
#: Events about frames that are forged or misrouted are told at most this often.
TAMPER_TOLD_EVERY_S = 60
#: Refusals that tell which keys are trusted, so that the service can sign with one of them.
KEYS_TOLD_WITH = frozenset({RefusalCode.BAD_SIGNATURE, RefusalCode.DUPLICATE})


@dataclass(frozen=True, kw_only=True)
class _UnderWay:
    """A command between its first step and its outcome; lives in volatile memory only."""

    claims: CommandClaims
    args: Message
    nonce: str = ""
    valid_until_s: float = 0
    cut_at: datetime | None = None
    ready: bool = False
    key_id: str = ""

    @property
    def delayed(self) -> bool:
        return self.cut_at is not None and not self.ready


class CommandDesk:
    """Takes commands, keeps what is under way, and carries it out when `carry_out` is called."""

    def __init__(self, device: Device, *, operations: Operations) -> None:
        self._device = device
        self._operations = operations
        self._under_way: dict[UUID, _UnderWay] = {}
        self._tamper_told_s = float("-inf")
        self.busy_until_s = float("-inf")

    def receive(self, token: bytes) -> None:
        """Take one frame of `dn/command`; whatever it holds, it is answered."""
        signed = self._verified(token)
        if signed is None or self._answered_before(signed.claims):
            return
        claims = signed.claims
        try:
            args = read_args(claims)
            self._check(claims, args=args)
            self._take(claims, args=args)
            if claims.id in self._under_way:
                self._under_way[claims.id] = replace(self._under_way[claims.id], key_id=signed.key_id)
        except RefusedError as refusal:
            self._under_way.pop(claims.id, None)
            self._refuse(claims.id, refusal)

    def carry_out(self) -> None:
        """Execute what was received; a power loss before this forgets it."""
        for command in [command for command in self._under_way.values() if command.ready]:
            if command.claims.id in self._under_way:
                self._execute(command)

    def end_delays(self) -> None:
        """Cut what has been delayed long enough."""
        device = self._device
        for command in list(self._under_way.values()):
            if command.delayed and command.cut_at is not None and command.cut_at <= device.at:
                self._execute(command)

    def next_moments(self) -> Iterator[datetime]:
        yield from (command.cut_at for command in self._under_way.values() if command.cut_at is not None)

    def session_lost(self) -> None:
        """Drop selections, and refuse for good the cuts that were operated but not yet made."""
        for command in list(self._under_way.values()):
            if command.claims.step is Step.OPERATE:
                self._cancel(command, RefusalCode.WRONG_SESSION)
            elif not command.ready:
                del self._under_way[command.claims.id]

    def _verified(self, token: bytes) -> Verified | None:
        try:
            signed = self._device.trust.verify(token)
        except (BadSignatureError, ValueError, TypeError, AttributeError, RecursionError):
            self._refuse(_claimed_id(token), RefusedError(RefusalCode.BAD_SIGNATURE))
            return None
        if signed.claims.terminal_id != self._device.profile.terminal_id:
            self._refuse(signed.claims.id, RefusedError(RefusalCode.NOT_FOR_ME))
            return None
        return signed

    def _answered_before(self, claims: CommandClaims) -> bool:
        device = self._device
        for result in device.kept.results:
            if result.command_id == claims.id:
                device.ack(result.command_id, step=result.step, code=result.code, detail=result.detail, at=result.at)
                return True
        command = self._under_way.get(claims.id)
        if command is not None and command.delayed and command.cut_at is not None:
            self._tell_delay(command)
            return True
        return command is not None and command.ready

    def _check(self, claims: CommandClaims, *, args: Message) -> None:
        self._check_form(claims, args=args)
        self._operations.check_range(args)
        by_cut_rules = claims.step is not Step.DO or self._operations.is_cut(args)
        self._check_time(claims, args=args, is_cut=by_cut_rules)
        kept = self._device.kept
        if isinstance(args, CreditArgs) and args.order_no <= kept.order_no:
            raise RefusedError(RefusalCode.DUPLICATE, f"the last order is {kept.order_no}")
        self._operations.check_keys(args)
        # The serial of a key statement says alone what is newer: a thief's version must not keep the anchor out.
        if not isinstance(args, KeysArgs):
            self._check_version(claims)
        self._operations.check_now(args)
        if by_cut_rules and claims.step is Step.DO:
            raise RefusedError(RefusalCode.PRECONDITION, "a cut is armed before it is operated")
        if self._device.machine_s < self.busy_until_s:
            raise RefusedError(RefusalCode.BUSY)

    def _check_form(self, claims: CommandClaims, *, args: Message) -> None:
        op = Op(claims.op)
        if claims.slot != slot_of(op, args):
            raise RefusedError(RefusalCode.UNSUPPORTED, "not the slot of this operation")
        if claims.step is not Step.DO and op not in MAY_CUT:
            raise RefusedError(RefusalCode.UNSUPPORTED, "this operation is not selected first")

    def _check_time(self, claims: CommandClaims, *, args: Message, is_cut: bool) -> None:
        device = self._device
        if is_cut and claims.session != device.session:
            raise RefusedError(RefusalCode.WRONG_SESSION)
        if is_cut and claims.max_uptime_s is None:
            raise RefusedError(RefusalCode.EXPIRED, "a cut needs max_uptime_s")
        if is_cut and claims.max_uptime_s is not None and device.uptime_s > claims.max_uptime_s:
            raise RefusedError(RefusalCode.EXPIRED)
        quality = device.clock.quality(device.machine_s)
        if quality is TerminalClock.SYNCED and device.reading > claims.expires_at:
            raise RefusedError(RefusalCode.EXPIRED)
        if quality is TerminalClock.UNSET and until_of(args) is not None:
            raise RefusedError(RefusalCode.CLOCK_UNSURE, "the end of its time cannot be told")

    def _check_version(self, claims: CommandClaims) -> None:
        if claims.version <= self._device.kept.slots.get(claims.slot, 0):
            raise RefusedError(RefusalCode.SUPERSEDED)
        rivals = [command for command in self._in_slot(claims.slot) if command.claims.id != claims.id]
        if any(command.claims.version >= claims.version for command in rivals):
            raise RefusedError(RefusalCode.SUPERSEDED)

    def _take(self, claims: CommandClaims, *, args: Message) -> None:
        if claims.step is Step.OPERATE:
            self._operate(claims, args=args)
            return
        rivals = [command for command in self._in_slot(claims.slot) if command.claims.id != claims.id]
        if len(self._under_way) - len(rivals) >= UNDER_WAY_AT_MOST and claims.id not in self._under_way:
            raise RefusedError(RefusalCode.BUSY)
        for rival in rivals:
            self._cancel(rival, RefusalCode.SUPERSEDED)
        self._device.ack(claims.id, step=AckStep.RECEIVED)
        if claims.step is Step.ARM:
            self._arm(claims, args=args)
        else:
            self._under_way[claims.id] = _UnderWay(claims=claims, args=args, ready=True)

    def _arm(self, claims: CommandClaims, *, args: Message) -> None:
        """Answer a selection; a repeat keeps its nonce and its end, so that a frame that came twice does no harm."""
        device = self._device
        before = self._under_way.get(claims.id)
        nonce, valid_until_s = secrets.token_hex(8), device.machine_s + ARM_VALID_S
        if before is not None and self._is_valid(before):
            nonce, valid_until_s = before.nonce, before.valid_until_s
        self._under_way[claims.id] = _UnderWay(claims=claims, args=args, nonce=nonce, valid_until_s=valid_until_s)
        device.ack(
            claims.id,
            step=AckStep.ARMED,
            detail=AckDetail(
                nonce=nonce,
                active_power_w=device.power_w,
                rounds=device.site.rounds(),
                order_no=device.kept.order_no,
                guarantee=device.kept.guarantee,
            ),
        )

    def _operate(self, claims: CommandClaims, *, args: Message) -> None:
        armed = self._under_way.get(claims.id)
        if armed is None or not self._is_valid(armed):
            raise RefusedError(RefusalCode.PRECONDITION, "not armed, or armed too long ago")
        if claims.nonce != armed.nonce:
            raise RefusedError(RefusalCode.PRECONDITION, "not the nonce that was given")
        if (args, claims.version) != (armed.args, armed.claims.version):
            raise RefusedError(RefusalCode.PRECONDITION, "not what was armed")
        delay_min = args.alarm_delay_min if isinstance(args, TripArgs) else 0
        if not delay_min:
            self._under_way[claims.id] = _UnderWay(claims=claims, args=args, ready=True)
            return
        cut_at = self._device.at + timedelta(minutes=delay_min)
        delayed = _UnderWay(claims=claims, args=args, cut_at=cut_at)
        self._under_way[claims.id] = delayed
        self._device.event(EventType.ALARM, cause="order", command_id=claims.id)
        self._tell_delay(delayed)

    def _execute(self, command: _UnderWay) -> None:
        device, claims = self._device, command.claims
        del self._under_way[claims.id]
        try:
            self._operations.check_now(command.args)
            self._operations.check_keys(command.args)
            self._cancel_by(command)
            detail = self._operations.act(command.args)
        except RefusedError as refusal:
            self._refuse(claims.id, refusal)
            return
        device.kept.slots[claims.slot] = claims.version
        device.kept.slot_key_ids[claims.slot] = command.key_id
        if claims.step is Step.OPERATE:
            self._spend_codes(claims)
        device.witness("executed", claims=claims.model_dump(mode="json", exclude_none=True))
        self._finish(CommandResult(command_id=claims.id, step=AckStep.EXECUTED, at=device.stamp, detail=detail))
        if isinstance(command.args, KeysArgs):
            self._drop_untrusted()

    def _spend_codes(self, claims: CommandClaims) -> None:
        """Let site codes that were given out before a cut give back nothing of it."""
        kept = self._device.kept
        given_out = kept.order_no if claims.last_order_no is None else claims.last_order_no
        kept.codes_spent = max(kept.codes_spent, given_out)

    def _drop_untrusted(self) -> None:
        """Refuse what is under way by a key that has just been revoked: armed cuts, delayed ones, all."""
        for other in list(self._under_way.values()):
            if not self._device.trust.trusts(other.key_id):
                self._cancel(other, RefusalCode.BAD_SIGNATURE)

    def _cancel_by(self, command: _UnderWay) -> None:
        """Cancel what a close, a guarantee or a newer version takes the ground from."""
        is_guarantee = isinstance(command.args, GuaranteeArgs) and command.args.on
        for other in list(self._under_way.values()):
            same_slot = other.claims.slot == command.claims.slot
            older = other.claims.version < command.claims.version
            freed = is_guarantee and isinstance(other.args, TripArgs)
            if (same_slot and (older or isinstance(command.args, CloseArgs))) or freed:
                self._cancel(other, RefusalCode.SUPERSEDED)

    def _cancel(self, command: _UnderWay, code: RefusalCode) -> None:
        self._under_way.pop(command.claims.id, None)
        self._refuse(command.claims.id, RefusedError(code))

    def _refuse(self, command_id: UUID | None, refusal: RefusedError) -> None:
        device = self._device
        keys = device.trust.held() if refusal.code in KEYS_TOLD_WITH else None
        detail = AckDetail(note=refusal.note, order_no=device.kept.order_no, rounds=device.site.rounds(), keys=keys)
        self._tell_tamper(command_id, code=refusal.code)
        if command_id is None or refusal.code in PASSING_REFUSALS:
            device.ack(command_id, step=AckStep.REFUSED, code=refusal.code, detail=detail)
            return
        self._finish(
            CommandResult(
                command_id=command_id, step=AckStep.REFUSED, code=refusal.code, at=device.stamp, detail=detail
            )
        )

    def _finish(self, result: CommandResult) -> None:
        self._device.remember(result)
        self._device.ack(result.command_id, step=result.step, code=result.code, detail=result.detail)

    def _tell_delay(self, command: _UnderWay) -> None:
        if command.cut_at is not None:
            until = self._device.clock.reading(command.cut_at)
            self._device.ack(command.claims.id, step=AckStep.DELAYING, detail=AckDetail(until=until))

    def _tell_tamper(self, command_id: UUID | None, *, code: RefusalCode) -> None:
        device = self._device
        if code not in {RefusalCode.BAD_SIGNATURE, RefusalCode.NOT_FOR_ME}:
            return
        if device.machine_s - self._tamper_told_s >= TAMPER_TOLD_EVERY_S:
            self._tamper_told_s = device.machine_s
            device.event(EventType.COMMAND_REFUSED, command_id=command_id, code=code)

    def _in_slot(self, slot: str) -> list[_UnderWay]:
        """Return what is under way in a slot, after selections whose time is over have lapsed."""
        for command_id, command in list(self._under_way.items()):
            if command.nonce and not self._is_valid(command):
                del self._under_way[command_id]
        return [command for command in self._under_way.values() if command.claims.slot == slot]

    def _is_valid(self, armed: _UnderWay) -> bool:
        return bool(armed.nonce) and self._device.machine_s <= armed.valid_until_s


def _claimed_id(token: bytes) -> UUID | None:
    try:
        claimed = unverified_command_id(token)
        return None if claimed is None else UUID(claimed)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
