"""C3D files of motion capture laboratories: points, event labels and computed curves."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ezc3d
import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.formats.points3d import Points3D

_UNITS = {"mm": 1e-3, "cm": 1e-2, "m": 1.0}
_COMPUTED = ("ANGLES", "FORCES", "MOMENTS", "POWERS", "SCALARS")
_MAX_BYTES = 2 * 1024**3
_BLOCK, _KEY, _MOST_FRAMES = 512, 0x50, 65535
_PROCESSORS = {84: "<", 85: "DEC", 86: ">"}
"""Byte orders of numbers: Intel, DEC, MIPS."""


@dataclass(frozen=True, eq=False)
class C3D:
    """One trial. Axes are the file's; most laboratories have z up. Times are absolute: sample k is at (first frame + k) / rate, as the event times count."""

    points: Points3D
    """Markers and joint centres, m."""
    computed: dict[str, np.ndarray]
    """(T, 3) each, in the file's units: what Plug-in-Gait and the like put among the points (angles in degrees, moments, powers)."""
    events: list[tuple[str, str, float]] = field(default_factory=list)
    """(side, label, time in s) in order of time, e.g. ("Left", "Foot Strike", 1.23)."""
    up: str | None = None
    """The axis that points up on the file's screen (POINT:Y_SCREEN), e.g. "z" or "-y"; None where it does not say."""


def read_c3d(path: str | Path) -> C3D:
    """Read a C3D file. Raises `InputError` for a file that is not one, is too large or has points in an unknown unit."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"'{path}' does not exist.")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"'{path}' has {path.stat().st_size} bytes; at most {_MAX_BYTES} are read.")
    announced, there = _frames(path)
    try:
        content = ezc3d.c3d(str(path))
    except Exception as error:  # the library raises many kinds on damaged files
        raise InputError(f"'{path}' cannot be read as C3D: {str(error).splitlines()[0] if str(error) else type(error).__name__}.") from None
    parameters, header = content["parameters"], content["header"]["points"]
    labels = [str(label) for label in _labels(parameters)]
    unit = str((_value(parameters, "POINT", "UNITS") or ["mm"])[0]).strip().lower()
    if unit not in _UNITS:
        raise InputError(f"'{path}': the points' unit '{unit}' is unknown; valid are {', '.join(_UNITS)}.")
    values = np.moveaxis(np.asarray(content["data"]["points"], float)[:3], -1, 0)  # (T, 3, K)
    residual = np.moveaxis(np.asarray(content["data"]["meta_points"]["residuals"], float)[0], -1, 0)  # (T, K)
    values = np.moveaxis(values, 1, 2)
    labels += [f"unlabelled_{k + 1}" for k in range(len(labels), values.shape[1])]
    computed_names = {str(n) for group in _COMPUTED for n in _value(parameters, "POINT", group) or []}
    is_point = np.array([label not in computed_names for label in labels[: values.shape[1]]], bool)
    points = np.where((residual < 0)[..., None], np.nan, values)[:, is_point] * _UNITS[unit]
    rate = float(header["frame_rate"])
    if not rate > 0:
        raise InputError(f"'{path}': the frame rate is {rate:g} Hz.")
    time_s = (int(header["first_frame"]) + np.arange(len(values))) / rate
    names = tuple(n for n, p in zip(labels, is_point, strict=False) if p)
    computed = {n: values[:, i] for i, (n, p) in enumerate(zip(labels, is_point, strict=False)) if not p}
    if there is not None and there < len(time_s):
        time_s, points, computed = time_s[:there], points[:there], {name: values[:there] for name, values in computed.items()}
    return C3D(Points3D(names, time_s, points, rate, announced), computed, _events(parameters), _up(parameters))


def _frames(path: Path) -> tuple[int, int | None]:
    """How many frames the header speaks of (0 where it cannot count so far), and how many of these are wholly in the file (None = all).

    The library ends the process on a file that breaks off within its parameters, so these are looked at first (C3D file format: blocks of 512 bytes; header
    words 2 to 11; the parameters' third byte). Raises InputError for such a file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(_BLOCK)
        if len(header) < _BLOCK or header[1] != _KEY or header[0] < 1:
            raise InputError(f"'{path}' cannot be read as C3D: it does not begin with a C3D header.")
        file.seek((header[0] - 1) * _BLOCK)
        parameters = file.read(4)
    processor = _PROCESSORS.get(parameters[3]) if len(parameters) == 4 else None
    if processor is None or (header[0] - 1 + parameters[2]) * _BLOCK > size:
        raise InputError(f"'{path}' cannot be read as C3D: it breaks off within its parameters.")
    if processor != "<":  # other machines' numbers: the library reads them, their header is not looked at
        return 0, None
    points, analog, first, last, _, scale, start = struct.unpack_from("<HHHHHfH", header, 2)
    frame = (4 * points + analog) * (4 if scale < 0 else 2)
    announced = last - first + 1
    if announced <= 0 or last == _MOST_FRAMES or not frame or start < 1:
        return 0, None
    there = max(size - (start - 1) * _BLOCK, 0) // frame
    if not there:
        raise InputError(f"'{path}' cannot be read as C3D: it breaks off before its first frame.")
    return announced, there if there < announced else None


def _labels(parameters: Any) -> list[str]:
    """All point labels: beyond 255 they go on in LABELS2, LABELS3 ..."""
    labels = list(_value(parameters, "POINT", "LABELS") or [])
    number = 2
    while more := _value(parameters, "POINT", f"LABELS{number}"):
        labels += list(more)
        number += 1
    return labels


def _events(parameters: Any) -> list[tuple[str, str, float]]:
    times = _value(parameters, "EVENT", "TIMES")
    if times is None or np.size(times) == 0:
        return []
    # (2, E): minutes and seconds.
    minutes, seconds = np.asarray(times, float).reshape(2, -1)
    labels, sides = _value(parameters, "EVENT", "LABELS") or [], _value(parameters, "EVENT", "CONTEXTS") or []
    events = [(str(side), str(label), float(60 * m + s)) for side, label, m, s in zip(sides, labels, minutes, seconds, strict=False)]
    return sorted(events, key=lambda e: e[2])


def _up(parameters: Any) -> str | None:
    screen = str((_value(parameters, "POINT", "Y_SCREEN") or [""])[0]).strip().lower().lstrip("+")
    return screen if screen.lstrip("-") in ("x", "y", "z") else None


def _value(parameters: Any, group: str, name: str) -> Any:
    entry = parameters[group][name] if group in parameters and name in parameters[group] else None
    return entry["value"] if entry is not None else None
