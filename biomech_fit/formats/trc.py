"""OpenSim's .trc files of marker positions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.core.opensim_axes import WORLD_FROM_OPENSIM
from biomech_fit.formats.atomic import write_text
from biomech_fit.formats.points3d import Points3D, sample_rate
from biomech_fit.formats.safe_read import read_text

AXES = {
    "opensim": WORLD_FROM_OPENSIM,
    "pose2sim": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "file": np.eye(3),
}
"""World axes from the file's: ours (x, y, z)_trc = (x, z, -y)_world; Pose2Sim's (x, y, z)_trc = (y, z, x)_world; as they are."""
_UNITS = {"m": 1.0, "mm": 1e-3, "cm": 1e-2, "meters": 1.0}
_MAX_BYTES = 512 * 1024 * 1024


def write_trc(path: str | Path, time_s: np.ndarray, names: Sequence[str], points_zup_world: np.ndarray, *, frame_rate_hz: float | None = None) -> None:
    """Write (T, K, 3) points, m in the z-up world, as a .trc in metres and OpenSim's axes. NaN becomes an empty field.

    `time_s` is (T,). The header's rate is `frame_rate_hz`, else that of the times. Raises `InputError` when the shapes do not fit.
    """
    time_s, points = np.asarray(time_s, float), np.asarray(points_zup_world, float)
    if points.shape != (len(time_s), len(names), 3):
        raise InputError(f"For {len(time_s)} times and {len(names)} names the points must be ({len(time_s)}, {len(names)}, 3), not {points.shape}.")
    bad = next((n for n in names if not n or any(c in n for c in "\t\r\n")), None)
    if bad is not None:
        raise InputError(f"The point name {bad!r} cannot be written to a .trc file.")
    rate = frame_rate_hz if frame_rate_hz is not None else sample_rate(time_s)
    values = (points @ AXES["opensim"]).reshape(len(time_s), -1)
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{Path(path).name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate:.6g}\t{rate:.6g}\t{len(time_s)}\t{len(names)}\tm\t{rate:.6g}\t1\t{len(time_s)}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"X{i}\tY{i}\tZ{i}" for i in range(1, len(names) + 1)),
    ]
    for frame, (t, row, finite) in enumerate(zip(time_s.tolist(), values.tolist(), np.isfinite(values).tolist(), strict=True), 1):
        lines.append(f"{frame}\t{t:.9g}\t" + "\t".join(f"{v:.6f}" if ok else "" for v, ok in zip(row, finite, strict=True)))
    write_text(path, "\n".join(lines) + "\n")


def read_trc(path: str | Path, *, axes: str = "opensim") -> Points3D:
    """Read a .trc into the z-up world, in metres (the header's unit is converted). `axes`: see `AXES`; empty fields are NaN.

    Raises `InputError` for a file that is not a .trc, unknown units or axes, or a row with a wrong number of fields (names the line).
    """
    if axes not in AXES:
        raise InputError(f"Axes '{axes}' are unknown; valid are {', '.join(AXES)}.")
    lines = read_text(path, _MAX_BYTES).splitlines()
    if len(lines) < 5 or not lines[0].startswith("PathFileType"):
        raise InputError(f"'{path}' is not a .trc file: its first line does not begin with PathFileType.")
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=False))
    unit = header.get("Units", "").strip().lower()
    if unit not in _UNITS:
        raise InputError(f"'{path}': the unit '{unit}' is unknown; valid are {', '.join(_UNITS)}.")
    names = tuple(n.strip() for n in lines[3].split("\t")[2:] if n.strip())
    columns = 2 + 3 * len(names)
    if header.get("NumMarkers", "").strip() != str(len(names)):
        raise InputError(f"'{path}': the header says {header.get('NumMarkers', 'no')} markers but names {len(names)}.")
    rows = []
    for number, line in enumerate(lines[5:], 6):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) > columns and any(f.strip() for f in fields[columns:]):
            raise InputError(f"'{path}', line {number}: {len(fields)} fields instead of {columns}.")
        fields = [*fields[:columns], *[""] * (columns - len(fields))]
        try:
            rows.append(_numbers(fields))
        except ValueError:
            raise InputError(f"'{path}', line {number}: a field is not a number.") from None
    values = np.array(rows, float).reshape(-1, columns)
    if not np.isfinite(values[:, 1]).all():
        raise InputError(f"'{path}': a row has no time.")
    points = values[:, 2:].reshape(len(values), len(names), 3) * _UNITS[unit] @ AXES[axes].T
    try:
        rate = float(header.get("DataRate", ""))
    except ValueError:
        rate = sample_rate(values[:, 1])
    announced = header.get("NumFrames", "").strip()
    return Points3D(names, values[:, 1], points, rate, int(announced) if announced.isdecimal() and len(announced) < 12 else 0)


def _numbers(fields: list[str]) -> list[float]:
    """Of a row; empty fields are NaN."""
    try:
        return [float(f) for f in fields]  # most rows are full, and checking every field costs as much as reading it
    except ValueError:
        return [float(f) if f.strip() else np.nan for f in fields]
