"""The classes that a terminal is built of; a terminal with a planted defect has another in one place."""

from dataclasses import dataclass

from simulators.commands import CommandDesk
from simulators.device import Device
from simulators.keypad import Keypad
from simulators.load_control import LoadControl
from simulators.operations import Operations


@dataclass(frozen=True, kw_only=True)
class Parts:
    device: type[Device] = Device
    load_control: type[LoadControl] = LoadControl
    operations: type[Operations] = Operations
    desk: type[CommandDesk] = CommandDesk
    keypad: type[Keypad] = Keypad
    takes_retained: bool = False
