"""Labelled walks for the gait benchmark: heels, toes and the sacrum of real people, over ground and on a treadmill, with force-plate or expert labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from walks import DATA

from biomech_fit.core.types import EventType, Side
from biomech_fit.formats.c3d import C3D, read_c3d

TREADMILL = DATA.parent / "treadmill_walking" / "treadmill_events.c3d"
_TYPES = {"Foot Strike": EventType.INITIAL_CONTACT, "Foot Off": EventType.FINAL_CONTACT}
_SIDES = {"Left": Side.LEFT, "Right": Side.RIGHT}


@dataclass(frozen=True)
class Label:
    """An event as labelled with the recording."""

    side: Side
    type: EventType
    time_s: float


@dataclass(frozen=True, eq=False)
class Walk:
    """T instants of a walk. Times are the file's."""

    name: str
    time_s: np.ndarray
    heels: np.ndarray
    """(T, 2, 3) m: left, right."""
    toes: np.ndarray
    sacrum: np.ndarray
    """(T, 3) m."""
    labels: tuple[Label, ...]

    @property
    def stamps_ns(self) -> np.ndarray:
        """(T,)"""
        return np.round(self.time_s * 1e9).astype(np.int64)


def overground() -> list[Walk]:
    """The straight walks of `mcgill_walking`."""
    return [_walk(path.parts[-3], path) for path in sorted(DATA.glob("*/Straight/*.c3d"))]


def treadmill() -> list[Walk]:
    """The walk of `treadmill_walking`; empty where it is not there."""
    return [_walk("treadmill", TREADMILL)] if TREADMILL.is_file() else []


def _walk(name: str, path: Path) -> Walk:
    content = read_c3d(path)
    heels, toes = (np.stack([_marker(content, side + point) for side in "LR"], axis=1) for point in ("HEE", "TOE"))
    sacrum = [_marker(content, marker) for marker in ("SACR", "LPSI", "RPSI") if marker in content.points.names]
    labels = tuple(Label(_SIDES[side], _TYPES[label], time) for side, label, time in content.events if label in _TYPES)
    return Walk(name, content.points.time_s, heels, toes, np.mean(sacrum, axis=0), labels)


def _marker(content: C3D, name: str) -> np.ndarray:
    """(T, 3) m; zeros are Vicon's sign for missing."""
    values = content.points[name]
    return np.where((values == 0.0).all(1)[:, None], np.nan, values)
