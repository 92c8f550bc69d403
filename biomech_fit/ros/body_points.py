"""What gait needs of a body state, read from the serialized message."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from biomech_fit.core.types import Status
from biomech_fit.ros.cdr import CdrReader, stamp_of_serialized

PELVIS_DOUBLES = 7 + 36
"""Position, quaternion and covariance of `BodyState.pelvis`."""
STAMP = slice(4, 12)
_POINT = {True: Struct("<3f"), False: Struct(">3f")}
_FLOAT32 = {True: Struct("<f"), False: Struct(">f")}


class Rows:
    """(n, 3) m within a message: a row is unpacked when it is asked for."""

    __slots__ = ("_message", "_point", "_start")

    def __init__(self, message: bytes, start: int, point: Struct) -> None:
        self._message, self._start, self._point = message, start, point

    def __getitem__(self, row: int) -> tuple[float, ...]:
        return self._point.unpack_from(self._message, self._start + 12 * row)


class BodyPoints(NamedTuple):
    """A body state without its joint angles."""

    stamp_ns: int
    frame_id: str
    subject: str
    status: Status
    keypoint_names: tuple[str, ...]
    keypoints: Rows
    joint_centre_names: tuple[str, ...]
    joint_centres: Rows
    lag_s: float


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where the fields of a message are, and its texts. Other messages are laid out alike where all texts and counts are the same."""

    same: tuple[tuple[int, bytes], ...]
    """Bytes that such messages share, and where: all texts and counts up to the last field that is read."""
    frame_id: str
    subject: str
    status: Status
    keypoint_names: tuple[str, ...]
    keypoints_at: int
    joint_centre_names: tuple[str, ...]
    joint_centres_at: int
    lag_at: int

    def fits(self, message: bytes) -> bool:
        return len(message) >= self.lag_at + 4 and all([message.startswith(part, at) for at, part in self.same])


class BodyPointsReader:
    """Reads serialized `BodyState` messages; remembers how the last one was laid out."""

    def __init__(self) -> None:
        self._layout: _Layout | None = None

    def read(self, message: bytes) -> BodyPoints | None:
        """None of a message that has only a status. Raises ValueError where it is broken, or its arrays do not fit its names."""
        layout = self._layout
        if layout is None or not layout.fits(message):
            layout = _layout(message)
            if layout is None:
                return None
            self._layout = layout
        little = message[1] == 1
        return BodyPoints(
            stamp_of_serialized(message),
            layout.frame_id,
            layout.subject,
            layout.status,
            layout.keypoint_names,
            Rows(message, layout.keypoints_at, _POINT[little]),
            layout.joint_centre_names,
            Rows(message, layout.joint_centres_at, _POINT[little]),
            _FLOAT32[little].unpack_from(message, layout.lag_at)[0],
        )


class _LayoutReader(CdrReader):
    """Goes through a message and keeps its texts and counts."""

    def __init__(self, message: bytes) -> None:
        super().__init__(message)
        self.same = [(0, message[: STAMP.start])]

    def keep(self, start: int) -> None:
        """What has been read since `start`."""
        self.same.append((start, self._message[start : self.at]))

    def floats(self) -> tuple[int, int]:
        """Leaves out a float32[]; how many there are, and where."""
        start = self.at
        count = self.count()
        self.keep(start)
        return count, self.skip(4, count)

    def points(self, what: str) -> tuple[tuple[str, ...], int]:
        """A string[] of names and a float32[] of their coordinates: the names, and where the coordinates are."""
        start = self.at
        names = self.strings()
        self.keep(start)
        count, at = self.floats()
        if count != 3 * len(names):
            raise ValueError(f"it has {count} coordinates for {len(names)} {what}")
        return names, at


def _layout(message: bytes) -> _Layout | None:
    cdr = _LayoutReader(message)
    start = cdr.at = STAMP.stop
    frame_id, subject, status, _ = cdr.string(), cdr.string(), Status(cdr.byte()), cdr.string()
    cdr.strings()
    cdr.keep(start)
    position, _, _ = cdr.floats()[0], cdr.floats(), cdr.floats()
    if not position:
        return None
    cdr.skip(8, PELVIS_DOUBLES)
    start = cdr.at
    cdr.string()
    cdr.keep(start)
    keypoint_names, keypoints_at = cdr.points("keypoints")
    cdr.floats()
    centre_names, centres_at = cdr.points("joint centres")
    return _Layout(tuple(cdr.same), frame_id, subject, status, keypoint_names, keypoints_at, centre_names, centres_at, cdr.skip(4, 1))
