"""Real walks as a detector would aim at them: Plug-in-Gait trials of `../shared/data/mcgill_walking` as the keypoints of the set halpe_26.

Hip, knee, ankle, shoulder, elbow and wrist are Plug-in-Gait's joint centres, heel and toes its markers. Nose, eyes, ears and the top of the head are put on
the head's frame at an adult's usual places; only the legs are scored. Every keypoint is then displaced by a vector that is constant in its segment's frame and
the same in all trials of a person: where this detector aims on this person. Normal, RMS length 10 mm (5.8 mm per axis), the simulator's convention.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

from biomech_fit.formats.c3d import C3D, read_c3d

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "mcgill_walking"
OFFSET_MM = 10.0
MAX_GAP_S = 0.1
"""Shorter gaps of a point are interpolated, longer ones stay missing."""

FLEXIONS = tuple(f"{joint}_{side}" for joint in ("hip_flexion", "knee_angle", "ankle_angle") for side in "rl")
"""Angles compared, OpenSim names and signs; Plug-in-Gait's component 0 has the same signs."""

_PLACES = {
    "Hip": ("{s}FEP", "PEL"),
    "Knee": ("{s}FEO", "{s}FE"),
    "Ankle": ("{s}TIO", "{s}TI"),
    "Heel": ("{s}HEE", "{s}FO"),
    "BigToe": ("{s}HLX", "{s}TO"),
    "SmallToe": ("{s}D5M", "{s}TO"),
    "Shoulder": ("{s}HUP", "TRX"),
    "Elbow": ("{s}HUO", "{s}HU"),
    "Wrist": ("{s}RAO", "{s}RA"),
}
"""Keypoint: point of the file, segment whose frame carries the offset."""
_HEAD = {
    "Nose": (0.115, 0.0, -0.075),
    "LEye": (0.085, 0.032, -0.040),
    "REye": (0.085, -0.032, -0.040),
    "LEar": (0.0, 0.072, -0.055),
    "REar": (0.0, -0.072, -0.055),
    "Head": (0.0, 0.0, 0.085),
}
"""m: forward, left and up from the middle of the four head markers; an adult's usual proportions."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial in a z-up world (m). Times are the file's."""

    start_s: float
    end_s: float
    _points: list[CubicSpline | None]
    _there: np.ndarray
    _sample_s: np.ndarray
    _angles: CubicSpline

    def points(self, time_s: np.ndarray) -> np.ndarray:
        """(T, K, 3) m, what the detector aims at, NaN = missing."""
        out = np.full((len(time_s), len(self._points), 3), np.nan)
        at = np.clip(np.searchsorted(self._sample_s, time_s, side="right") - 1, 0, len(self._sample_s) - 2)
        for k, curve in enumerate(self._points):
            if curve is not None:
                out[:, k] = np.where((self._there[at, k] & self._there[at + 1, k])[:, None], curve(time_s), np.nan)
        return out

    def angles(self, time_s: np.ndarray) -> np.ndarray:
        """(T, 6) degrees, `FLEXIONS`."""
        return self._angles(time_s)


@dataclass(frozen=True, eq=False)
class Person:
    """A person's standing and walking trial with the same keypoint offsets."""

    name: str
    static: Trial
    walk: Trial


def subject_names() -> list[str]:
    """The people of the data set; exits with a sentence when it is absent."""
    if not DATA.is_dir():
        raise SystemExit(f"The walks are not here: '{DATA}' does not exist.")
    return sorted(folder.name for folder in DATA.iterdir() if (folder / "Static").is_dir())


def read_person(name: str, keypoint_names: tuple[str, ...], rng: np.random.Generator) -> Person:
    """Both trials; `rng` draws the person's keypoint offsets."""
    offsets = OFFSET_MM * 1e-3 / np.sqrt(3) * rng.standard_normal((len(keypoint_names), 3))
    static, walk = (_trial(read_c3d(next((DATA / name / kind).glob("*.c3d"))), keypoint_names, offsets) for kind in ("Static", "Straight"))
    return Person(name, static, walk)


def _trial(content: C3D, keypoint_names: tuple[str, ...], offsets: np.ndarray) -> Trial:
    time = content.points.time_s
    points = aimed_points(content, keypoint_names, offsets)
    curves: list[CubicSpline | None] = []
    there = np.isfinite(points).all(-1)
    for k in range(len(keypoint_names)):
        good = there[:, k]
        curves.append(CubicSpline(time[good], points[good, k]) if good.sum() >= 4 else None)
        _bridge(there[:, k], MAX_GAP_S * content.points.rate_hz)
    joints = {"hip_flexion": "HipAngles", "knee_angle": "KneeAngles", "ankle_angle": "AnkleAngles"}
    angles = np.column_stack([content.computed[f"{name[-1].upper()}{joints[name[:-2]]}"][:, 0] for name in FLEXIONS])
    return Trial(float(time[0]), float(time[-1]), curves, there, time, CubicSpline(time, angles))


def _bridge(there: np.ndarray, longest: float) -> None:
    """Marks gaps of at most `longest` samples between two good ones as present, in place."""
    good = np.flatnonzero(there)
    for a, b in pairwise(good):
        if b - a - 1 <= longest:
            there[a:b] = True


def aimed_points(content: C3D, keypoint_names: tuple[str, ...], offsets: np.ndarray) -> np.ndarray:
    """(T, K, 3) m at the file's samples; offsets (K, 3) m in the segments' frames."""
    out = np.full((len(content.points.time_s), len(keypoint_names), 3), np.nan)
    for k, name in enumerate(keypoint_names):
        place, segment = _place(content, name)
        out[:, k] = place + np.einsum("tij,j->ti", _frame(content, segment), offsets[k])
    return out


def _place(content: C3D, name: str) -> tuple[np.ndarray, str]:
    """(T, 3) m of a keypoint, and the segment that carries its offset."""
    if name in _HEAD:
        middle = np.mean([_point(content, marker) for marker in ("LFHD", "RFHD", "LBHD", "RBHD")], axis=0)
        return middle + _frame(content, "HED") @ np.array(_HEAD[name]), "HED"
    if name == "Neck":
        return 0.5 * (_point(content, "C7") + _point(content, "CLAV")), "TRX"
    if name == "MidHip":
        return 0.5 * (_point(content, "LFEP") + _point(content, "RFEP")), "PEL"
    point, segment = (text.format(s=name[0]) for text in _PLACES[name[1:]])
    return _point(content, point), segment


def _point(content: C3D, name: str) -> np.ndarray:
    """(T, 3) m; zeros are Vicon's sign for missing."""
    values = content.points[name]
    return np.where((values == 0.0).all(1)[:, None], np.nan, values)


def _frame(content: C3D, segment: str) -> np.ndarray:
    """(T, 3, 3) orthonormal axes (columns) of a Plug-in-Gait segment, from its points O, A and L; for trunk and head: forward, left, up."""
    origin, forward, left = (_point(content, segment + axis) for axis in "OAL")
    x = forward - origin
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    y = left - origin
    y = y - (x * y).sum(1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=2)
