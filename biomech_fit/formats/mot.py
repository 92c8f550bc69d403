"""OpenSim's .mot (storage) files of generalised coordinates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.formats.atomic import write_text
from biomech_fit.formats.safe_read import read_text

_MAX_BYTES = 512 * 1024 * 1024
_TRANSLATION = re.compile(r"_t[xyz]$")
_UNITS_NOTE = """
Units are S.I. units (second, meters, Newtons, ...)
If the header above contains a line with 'inDegrees', this indicates whether rotational values are in degrees (yes) or radians (no).
"""


@dataclass(frozen=True, eq=False)
class Motion:
    """T samples of N coordinates, in SI units whatever the file has."""

    names: tuple[str, ...]
    time_s: np.ndarray
    """(T,)"""
    values: np.ndarray
    """(T, N) rad and m."""
    in_degrees: bool
    """Whether the file has degrees."""

    def __getitem__(self, name: str) -> np.ndarray:
        """(T,) of one coordinate; KeyError with the valid names."""
        if name not in self.names:
            raise KeyError(f"no coordinate '{name}'; there are {', '.join(self.names)}")
        return self.values[:, self.names.index(name)]


def angles_by_name(names: Sequence[str]) -> np.ndarray:
    """(N,) True for angles: OpenSim's translations end in _tx, _ty, _tz."""
    return np.array([_TRANSLATION.search(n) is None for n in names], bool)


def write_mot(
    path: str | Path, time_s: np.ndarray, names: Sequence[str], values: np.ndarray, in_degrees: bool = True, *, is_angle: np.ndarray | None = None
) -> None:
    """Write coordinates.

    Args:
        time_s: (T,) seconds.
        names: N coordinate names.
        values: (T, N) in rad and m always.
        in_degrees: whether the file has degrees; angles are converted here.
        is_angle: (N,) which columns are angles; None = by their names (`angles_by_name`).
    """
    time_s, values = np.asarray(time_s, float), np.asarray(values, float)
    if values.shape != (len(time_s), len(names)):
        raise InputError(f"For {len(time_s)} times and {len(names)} names the values must be ({len(time_s)}, {len(names)}), not {values.shape}.")
    if in_degrees:
        angles = angles_by_name(names) if is_angle is None else np.asarray(is_angle, bool)
        values = np.where(angles, np.degrees(values), values)
    header = ["Coordinates", "version=1", f"nRows={len(time_s)}", f"nColumns={len(names) + 1}", f"inDegrees={'yes' if in_degrees else 'no'}"]
    lines = [*header, _UNITS_NOTE.rstrip("\n"), "", "endheader", "\t".join(["time", *names])]
    lines += ["\t".join([f"{t:16.8f}", *(f"{v:16.8f}" for v in row)]) for t, row in zip(time_s.tolist(), values.tolist(), strict=True)]
    write_text(path, "\n".join(lines) + "\n")


def read_mot(path: str | Path, *, in_degrees: bool | None = None) -> Motion:
    """Read an OpenSim or SIMM motion file.

    `in_degrees` overrides the header. Without an ``inDegrees=`` line a SIMM file has degrees and an OpenSim file radians, as OpenSim has it.
    Raises `InputError` for a file without ``endheader`` or with a malformed row (names the line).
    """
    lines = read_text(path, _MAX_BYTES).splitlines()
    end = next((i for i, line in enumerate(lines[:1000]) if line.strip() == "endheader"), None)
    if end is None or end + 1 >= len(lines):
        raise InputError(f"'{path}' is not a .mot file: it has no line 'endheader' followed by column names.")
    header = [line.strip() for line in lines[:end]]
    if in_degrees is None:
        # Only a line that begins so: OpenSim's prose below it has the words, too.
        said = next((line.split("=", 1)[1].strip().lower() for line in header if line.replace(" ", "").startswith("inDegrees=")), None)
        in_degrees = said.startswith("y") if said else any("SIMM Motion File" in line or line.startswith("datacolumns") for line in header)
    labels_at = next((i for i in range(end + 1, len(lines)) if lines[i].strip()), None)
    if labels_at is None:
        raise InputError(f"'{path}' has no column names.")
    names = lines[labels_at].split()
    if not names or names[0].lower() != "time":
        raise InputError(f"'{path}', line {labels_at + 1}: the first column must be 'time', not '{names[0] if names else ''}'.")
    rows = []
    for number, line in enumerate(lines[labels_at + 1 :], labels_at + 2):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != len(names):
            raise InputError(f"'{path}', line {number}: {len(fields)} values for {len(names)} columns.")
        try:
            rows.append([float(f) for f in fields])
        except ValueError:
            raise InputError(f"'{path}', line {number}: a value is not a number.") from None
    table = np.array(rows, float).reshape(-1, len(names))
    values = table[:, 1:]
    if in_degrees:
        values = np.where(angles_by_name(names[1:]), np.radians(values), values)
    return Motion(tuple(names[1:]), table[:, 0], values, in_degrees)
