"""Labelled walks for the gait benchmark: heels, toes and the sacrum of real people, over ground and on a treadmill, with force-plate or expert labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import ezc3d
import numpy as np
from walks import DATA

from biomech_fit.core.types import EventType, Side
from biomech_fit.formats.c3d import C3D, read_c3d

TREADMILL = DATA.parent / "treadmill_walking" / "treadmill_events.c3d"
_TYPES = {"Foot Strike": EventType.INITIAL_CONTACT, "Foot Off": EventType.FINAL_CONTACT}
_SIDES = {"Left": Side.LEFT, "Right": Side.RIGHT}


THRESHOLD_N = 20.0
STEADY_S = 0.1
"""A foot bears on a plate for so long at least."""
_NEAR_S = 0.05


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


def on_plates(walk: Walk) -> Walk:
    """The walk with the labels of those contacts alone that fell on a force plate, at the times at which the plate's force passes 20 N."""
    path = next((DATA / walk.name / "Straight").glob("*.c3d"))
    content = ezc3d.c3d(str(path), extract_forceplat_data=True)
    rate = float(content["header"]["analogs"]["frame_rate"])
    steady = round(STEADY_S * rate)
    found = []
    for plate in content["data"]["platform"]:
        loaded = np.abs(np.asarray(plate["force"])[2]) > THRESHOLD_N
        change = np.diff(loaded.astype(int))
        rises = [k + 1 for k in np.flatnonzero(change == 1) if loaded[k + 1 : k + 1 + steady].all()]
        falls = [k + 1 for k in np.flatnonzero(change == -1) if loaded[max(k - steady, 0) : k + 1].all()]
        found += [(kind, walk.time_s[0] + k / rate) for kind, ks in ((EventType.INITIAL_CONTACT, rises), (EventType.FINAL_CONTACT, falls)) for k in ks]
    labels = []
    for kind, time in found:
        near = [label for label in walk.labels if label.type == kind and abs(label.time_s - time) < _NEAR_S]
        labels += [Label(label.side, kind, float(time)) for label in near[:1]]
    return replace(walk, labels=tuple(sorted(labels, key=lambda label: label.time_s)))


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
