"""The messages zwriter acts upon, with their fields checked.

Each class has `of(message)`, which raises BadMessage with one line that names the field that is
missing or wrong. Fields that BEC may leave out have defaults; unused ones are not looked at.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from zwriter.errors import BadMessage
from zwriter.model import ScanState
from zwriter.protocol.codec import Message
from zwriter.protocol.keys import safe_name

MAX_NAMES = 20_000  # devices and signals that one control message may name
_YEAR_10000 = 253402300800.0


def _checked_name(name: str) -> str:
    if not safe_name(name):
        raise ValueError(f"{name[:300]!r} cannot be a name here")
    return name


def _with_value(reading: dict[str, Any]) -> dict[str, Any]:
    if "value" not in reading:
        raise ValueError("a reading needs a value")
    return reading


def _none_is_empty(value: Any) -> Any:
    return {} if value is None else value


def _few(value: Any) -> Any:
    """Refuses too many names, before each of them is looked at, and what is wrong with it told."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        count = len(value) + sum(len(item) for item in inner if isinstance(item, dict | list))
        if count > MAX_NAMES:
            raise ValueError(f"{count} names; at most {MAX_NAMES} are allowed")
    return value


def _text(value: Any) -> Any:
    """Refuses what an enumeration would be compared with, and what may be no truth: an array."""
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} where text is expected")
    return value


def _known_moment(value: Any) -> Any:
    """A time that is none, in no calendar, is not known."""
    outside = isinstance(value, int | float) and not 0 <= value < _YEAR_10000
    return None if outside and not isinstance(value, bool) else value


def _by_signals(value: Any) -> Any:
    """A device that was read as a whole, as by scans that follow a flyer, has one signal, which is
    called as itself."""
    if not isinstance(value, dict):
        return value
    return {
        device: {device: signals} if _is_reading(signals) else signals
        for device, signals in value.items()
    }


def _is_reading(signals: Any) -> bool:
    return isinstance(signals, dict) and not isinstance(signals.get("value", {}), dict)


Name = Annotated[str, AfterValidator(_checked_name)]
Reading = Annotated[dict[str, Any], AfterValidator(_with_value)]
Signals = Annotated[dict[Name, Reading], BeforeValidator(_few)]
"""signal -> {"value": ..., "timestamp": ...}; the timestamp may be missing"""
Devices = Annotated[dict[Name, Signals], BeforeValidator(_few), BeforeValidator(_by_signals)]
Names = Annotated[list[str], BeforeValidator(_few)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Moment = Annotated[float | None, BeforeValidator(_known_moment)]
"""seconds since 1970"""
Map = Annotated[dict[Any, Any], BeforeValidator(_none_is_empty)]
"""what users fill as they like; BEC's null is an empty one"""


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)
    bec_type: ClassVar[str]

    @classmethod
    def of(cls, message: Message) -> Self:
        """The message's fields, checked. Raises BadMessage."""
        if message.type != cls.bec_type:
            raise BadMessage(f"a {message.type[:100]} where a {cls.bec_type} belongs")
        try:
            return cls.model_validate(message.data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise BadMessage(f"{cls.bec_type}, {where[:300]}: {first['msg'][:300]}") from error


class ScanStatus(_View):
    """A scan has opened, paused or ended."""

    bec_type = "ScanStatusMessage"

    scan_id: Name
    status: Annotated[ScanState, Field(strict=False), BeforeValidator(_text)]
    reason: str | None = None
    scan_number: Count | None = None
    session_id: str | None = None
    num_points: int | None = None
    num_monitored_readouts: int | None = None
    scan_name: str | None = None
    scan_type: str | None = None
    dataset_number: int | None = None
    scan_report_devices: Names | None = None
    user_metadata: Map = {}
    readout_priority: Annotated[
        dict[str, list[str]], BeforeValidator(_few), BeforeValidator(_none_is_empty)
    ] = {}
    scan_parameters: Map = {}
    request_inputs: Map = {}
    info: Map
    timestamp: Moment = None

    @model_validator(mode="before")
    @classmethod
    def _number_from_info(cls, data: dict[str, Any]) -> dict[str, Any]:
        info = data.get("info")
        if data.get("scan_number") is None and isinstance(info, dict):
            return {**data, "scan_number": info.get("scan_number")}
        return data


class ScanPoint(_View):
    """The readings of all monitored devices at one point."""

    bec_type = "ScanMessage"

    scan_id: Name
    point_id: Count
    data: Devices


class Baseline(_View):
    """The readings of all baseline devices, once a scan."""

    bec_type = "ScanBaselineMessage"

    scan_id: Name
    data: Devices


class Readings(_View):
    """What a device was read as: its configuration, for example."""

    bec_type = "DeviceMessage"

    signals: Signals


class FileReference(_View):
    """A file that a device wrote itself.

    hinted_h5_entries: name below the device in the master file -> path in that file
    """

    bec_type = "FileMessage"

    file_path: str
    done: bool
    successful: bool
    is_master_file: bool = False
    device_name: str | list[str] | None = None
    file_type: str = "h5"
    hinted_h5_entries: Annotated[dict[str, str] | None, BeforeValidator(_few)] = None


class BeamlineState(_View):
    """`status` is valid, invalid, warning or unknown."""

    bec_type = "BeamlineStateMessage"

    name: Name
    status: str
    label: str
    timestamp: Moment = None


class _Named(BaseModel):
    name: Name


class AvailableBeamlineStates(_View):
    """Which beamline states there are."""

    bec_type = "AvailableBeamlineStatesMessage"

    states: Annotated[list[Annotated[_Named, Field(strict=False)]], BeforeValidator(_few)]

    @property
    def names(self) -> list[str]:
        return [state.name for state in self.states]


class SignalIndex(_View):
    """One update of a stream: shape and running number per signal. The list is never trimmed."""

    bec_type = "DeviceAsyncSignalIndexMessage"

    scan_id: Name
    device: Name
    signal: Name
    shapes: Annotated[dict[Name, list[Count]], BeforeValidator(_few)]
    indices: Annotated[dict[Name, Count], BeforeValidator(_few)]
    async_update: Map
