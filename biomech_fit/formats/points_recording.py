"""A trial of 3D points (.c3d, .trc) as what gait is read from: feet and pelvis in a z-up world, and the events that somebody has labelled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.core.types import EventType, Side
from biomech_fit.formats.c3d import C3D, read_c3d
from biomech_fit.formats.points3d import Points3D, sample_rate
from biomech_fit.formats.points_map import FeetAndPelvis, PointsMap, find_feet, load_points_map
from biomech_fit.formats.trc import read_trc
from biomech_fit.formats.world_up import likely_up, upright

SUFFIXES = (".c3d", ".trc")
ODD_RATE = 0.02
"""A header's rate that is so far from that of the times is wrong. (Times are rounded.)"""
_STRIKES = ("foot strike", "heel strike", "initial contact", "foot contact", "foot on")
_OFFS = ("foot off", "toe off", "final contact", "toe-off")
_CURVES = {"HipAngles": ("hip_flexion", "hip_adduction"), "KneeAngles": ("knee_angle",), "AnkleAngles": ("ankle_angle",)}
"""Plug-in Gait's computed angles whose first components have the sign of our coordinates (degrees)."""


@dataclass(frozen=True, eq=False)
class PointsRecording:
    """T samples; times are the file's own, in s."""

    name: str
    stamps_ns: np.ndarray
    """(T,) increasing; 0 = the file's 0 s."""
    frame_rate_hz: float
    feet: FeetAndPelvis | None
    """In a z-up world; None where no heel, toe or ankle of both feet is found."""
    points: Points3D
    """All of them, in that world."""
    mapping: PointsMap | None
    """The map that was asked for."""
    up: str
    """The axis of the file that points up."""
    labels: list[tuple[Side, EventType, float]]
    """Events labelled in the file: foot, kind, s."""
    angles: dict[str, np.ndarray]
    """(T,) degrees: joint angles that the file holds already, under our coordinates' names."""
    point_count: int
    notices: list[str]
    no_feet: str = ""
    """Why there are none."""


def is_points_file(path: str | Path) -> bool:
    """By its name."""
    return Path(path).suffix.lower() in SUFFIXES


def open_points(path: str | Path, *, points_map: str | Path | None = None, world_up: str | None = None, need_feet: bool = True) -> PointsRecording:
    """Opens a .c3d or .trc file.

    Args:
        path: the file.
        points_map: name or YAML of a map of its points; None = the first built-in one that fits.
        world_up: its axis that points up ("z", "-y" ...); None = what the file says, else what lies over the feet, else z (.c3d) or y (.trc).
        need_feet: without feet it is of no use.

    Raises:
        InputError: one sentence that says what was wrong and what is valid.
    """
    path = Path(path)
    mapping = load_points_map(points_map) if points_map is not None else None
    trial = read_c3d(path) if path.suffix.lower() == ".c3d" else C3D(read_trc(path, axes="file"), {})
    points = _checked(trial.points, path)
    feet, no_feet, notices = None, "", []
    if points.announced > len(points.time_s):
        notices.append(f"'{path.name}' breaks off: its header speaks of {points.announced} samples, {len(points.time_s)} are there.")
    try:
        feet = find_feet(points, path.name, mapping)
    except InputError as error:
        if need_feet:
            raise
        no_feet = str(error)
    if feet is not None and feet.stand_ins:
        what = ", ".join(role.replace("_", " ") for role in feet.stand_ins)
        notices.append(f"'{path.name}' has no point for: {what}; the ankle is taken instead, and events are less exact.")
    up, said = _up(trial, feet, world_up, path)
    notices += said
    if feet is not None:
        feet = replace(feet, heels=upright(feet.heels, up), toes=upright(feet.toes, up), pelvis=upright(feet.pelvis, up))
    whole = replace(points, points=upright(points.points, up))
    stamps = np.round(points.time_s * 1e9).astype(np.int64)
    rate = points.rate_hz if points.rate_hz > 0 else sample_rate(points.time_s)
    if points.rate_hz > 0 and not any(abs(told / rate - 1) < ODD_RATE for told in _rates(points.time_s)):
        rate = sample_rate(points.time_s)
        notices.append(f"'{path.name}': its header says {points.rate_hz:g} Hz, its times {rate:g} Hz; the times count.")
    return PointsRecording(path.name, stamps, rate, feet, whole, mapping, up, _labels(trial), _angles(trial), len(points.names), notices, no_feet)


def _rates(time_s: np.ndarray) -> list[float]:
    """Hz, as times may tell them that are rounded, or have gaps."""
    step = np.diff(time_s)
    usual = float(np.median(step))
    return [1 / usual, *(1 / float(step[step < most * usual].mean()) for most in (1.5, 2.5))]


def _checked(points: Points3D, path: Path) -> Points3D:
    """Two samples at least, in order of time; a point at the file's very origin is a missing one (as many programs write it)."""
    if len(points.time_s) < 2:
        raise InputError(f"'{path}' has {len(points.time_s)} samples; at least two are needed.")
    back = np.flatnonzero(np.diff(points.time_s) <= 0)
    if len(back):
        raise InputError(f"'{path}': sample {back[0] + 2} is not later than the one before it.")
    missing = (points.points == 0).all(-1, keepdims=True)
    return replace(points, points=np.where(missing, np.nan, points.points))


def _up(trial: C3D, feet: FeetAndPelvis | None, wanted: str | None, path: Path) -> tuple[str, list[str]]:
    """The axis that points up, and what is to be said of it."""
    likely = likely_up(feet.heels.mean(axis=1), feet.pelvis) if feet is not None else None
    if wanted is not None:
        upright(np.zeros(3), wanted)  # names the valid ones
        odd = likely is not None and likely != wanted
        return wanted, [f"'{path.name}': --world-up is {wanted}, but the pelvis lies over the feet along {likely}."] if odd else []
    if trial.up is not None:
        odd = likely is not None and likely != trial.up
        hint = f"'{path.name}' says that {trial.up} points up, but the pelvis lies over the feet along {likely}; if that is right, add --world-up {likely}."
        return trial.up, [hint] if odd else []
    usual = "z" if path.suffix.lower() == ".c3d" else "y"
    if likely is not None and likely != usual:
        return likely, [f"'{path.name}': {likely} is taken as up, since the pelvis lies over the feet along it (usual is {usual}; --world-up says otherwise)."]
    return usual, []


def _labels(trial: C3D) -> list[tuple[Side, EventType, float]]:
    labels = []
    for side, label, time_s in trial.events:
        word = label.strip().lower()
        kind = EventType.INITIAL_CONTACT if word in _STRIKES else EventType.FINAL_CONTACT if word in _OFFS else None
        foot = {"left": Side.LEFT, "right": Side.RIGHT}.get(side.strip().lower())
        if kind is not None and foot is not None:
            labels.append((foot, kind, time_s))
    return labels


def _angles(trial: C3D) -> dict[str, np.ndarray]:
    plain = {name.rpartition(":")[2]: values for name, values in trial.computed.items()}
    out = {}
    for letter in "LR":
        for curve, coordinates in _CURVES.items():
            for component, coordinate in enumerate(coordinates):
                if f"{letter}{curve}" in plain:
                    values = plain[f"{letter}{curve}"]
                    out[f"{coordinate}_{letter.lower()}"] = np.where((values == 0).all(1), np.nan, values[:, component])
    return out
