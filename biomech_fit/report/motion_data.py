"""What `evaluate` compares, read from an output folder, a simulated recording, or .trc and .mot files."""

from __future__ import annotations

import csv
import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.formats.calibration import find_toml_calibrations, read_calibration
from biomech_fit.formats.mot import read_mot
from biomech_fit.formats.trc import read_trc

_LARGEST_FILE = 2 * 1024**3


@dataclass(eq=False)
class Series:
    """Named values over time: (T,) s and (T, M) or (T, M, 3)."""

    time_s: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray
    std: np.ndarray | None = None

    def strictly_later(self) -> Series:
        """Without rows that are not later than all before them (times that were rounded, or written twice)."""
        later = self.time_s > np.maximum.accumulate(np.concatenate([[-np.inf], self.time_s[:-1]]))
        return Series(self.time_s[later], self.names, self.values[later], None if self.std is None else self.std[later])


@dataclass(eq=False)
class MotionData:
    """One motion, estimated or true; None or empty = not known."""

    coordinates: Series | None = None
    """Radians and metres, OpenSim names."""
    keypoints: Series | None = None
    joint_centres: Series | None = None
    cameras: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    """Name to rotation (3, 3) and translation (3,), world to camera."""
    clock_offset_s: dict[str, float] = field(default_factory=dict)
    segment_lengths_m: dict[str, float] = field(default_factory=dict)
    events: list[tuple[float, str, str]] | None = None
    """(time s, left|right, initial_contact|final_contact)."""
    zero_ns: int | None = None
    """Stamp of 0 s, where it is known."""


def read_output(folder: Path) -> MotionData:
    """One result of an output folder: `folder` itself (causal) or its sub-folder smoothed. Calibration and lengths come from the folder or the one above."""
    data = MotionData()
    if (folder / "estimates.npz").is_file():
        content = read_npz(folder / "estimates.npz")
        time = content["time_s"]
        data.coordinates = _series(content, time, "coordinate_names", "coordinates", "coordinate_std")
        data.keypoints = _series(content, time, "keypoint_names", "keypoints", "keypoint_std")
        data.joint_centres = _series(content, time, "joint_centre_names", "joint_centres")
    else:
        data.coordinates = _coordinates(folder / "joint_angles.mot")
        data.keypoints = _points(folder / "keypoints.trc")
        data.joint_centres = _points(folder / "joint_centres.trc")
    if data.coordinates is None and data.keypoints is None:
        raise InputError(f"'{folder}' holds no result: expected estimates.npz, or joint_angles.mot and keypoints.trc, as `biomech-fit track` writes them.")
    if (folder / "gait_events.csv").is_file():
        data.events = _read_events(folder / "gait_events.csv")
    for place in (folder, folder.parent):
        if (place / "summary.json").is_file():
            summary = _read_json(place / "summary.json")
            data.segment_lengths_m = {k: float(v) for k, v in (summary.get("segment_lengths_m") or {}).items() if v is not None}
            data.zero_ns = summary.get("start_stamp_ns")
            corrections = summary.get("camera_correction") or {}
            data.clock_offset_s = {k: 1e-3 * v["time_offset_ms"] for k, v in corrections.items() if v.get("time_offset_ms") is not None}
            if (place / "calibration.toml").is_file():
                data.cameras = {c.name: (c.rotation, c.translation) for c in read_calibration(place / "calibration.toml").cameras}
            break
    return data


def read_truth(path: Path) -> MotionData:
    """Truth: a simulated recording's folder or its truth.npz; a folder with truth.trc and truth.mot (or one of each); or one .trc or .mot file."""
    if not path.exists():
        raise InputError(f"The truth '{path}' does not exist; give a simulated recording's folder, or a .npz, .trc or .mot file.")
    if path.is_file():
        if path.suffix == ".npz":
            return _simulated(path)
        if path.suffix == ".trc":
            return MotionData(keypoints=_points(path), joint_centres=_points(path))
        if path.suffix in (".mot", ".sto"):
            return MotionData(coordinates=_coordinates(path))
        raise InputError(f"The truth '{path}' is not a .npz, .trc or .mot file.")
    if (path / "truth.npz").is_file():
        return _simulated(path / "truth.npz")
    trc, mot = (_only(path, suffix) for suffix in (".trc", ".mot"))
    if trc is None and mot is None:
        raise InputError(f"The truth folder '{path}' holds neither truth.npz nor a .trc or .mot file.")
    points = None if trc is None else _points(trc)
    return MotionData(coordinates=None if mot is None else _coordinates(mot), keypoints=points, joint_centres=points)


def read_loaded_cameras(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The calibration that a simulated recording hands out, to tell what refinement gained; empty where there is none or more than one."""
    if not path.is_dir():
        return {}
    files = find_toml_calibrations(path)
    return {c.name: (c.rotation, c.translation) for c in read_calibration(files[0]).cameras} if len(files) == 1 else {}


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, without unpickling anything. Raises InputError for a damaged file."""
    if path.stat().st_size > _LARGEST_FILE:
        raise InputError(f"'{path}' is larger than 2 GB and is not read.")
    try:
        with np.load(path, allow_pickle=False) as content:
            return {key: content[key] for key in content.files}
    except (ValueError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"'{path}' cannot be read as a NumPy archive of plain arrays: {error}.") from error


def _simulated(path: Path) -> MotionData:
    content = read_npz(path)
    if "time_s" not in content:
        raise InputError(f"'{path}' has no entry time_s; its entries are: {', '.join(content) or 'none'}.")
    time = content["time_s"]
    data = MotionData(
        coordinates=_series(content, time, "coordinate_names", "coordinates"),
        keypoints=_series(content, time, "keypoint_names", "keypoints"),
        joint_centres=_series(content, time, "joint_centre_names", "joint_centres"),
    )
    if "stamp_ns" in content and len(time):
        data.zero_ns = int(content["stamp_ns"].flat[0]) - round(float(time[0]) * 1e9)
    names = [str(n) for n in content.get("camera_names", ())]
    if "camera_rotation" in content and "camera_translation" in content:
        data.cameras = {n: (r, t) for n, r, t in zip(names, content["camera_rotation"], content["camera_translation"], strict=True)}
    if "clock_offset_s" in content:
        data.clock_offset_s = {n: float(v) for n, v in zip(names, content["clock_offset_s"], strict=True)}
    if "segment_names" in content:
        data.segment_lengths_m = {str(n): float(v) for n, v in zip(content["segment_names"], content["segment_lengths_m"], strict=True)}
    if "event_time_s" in content:
        sides = {"0": "left", "1": "right", "left": "left", "right": "right"}
        kinds = {"0": "initial_contact", "1": "final_contact", "initial_contact": "initial_contact", "final_contact": "final_contact"}
        rows = zip(content["event_time_s"], content["event_side"], content["event_type"], strict=True)
        data.events = [(float(t), sides[str(s).lower()], kinds[str(k).lower()]) for t, s, k in rows]
    return data


def _series(content: dict[str, np.ndarray], time: np.ndarray, names: str, values: str, std: str | None = None) -> Series | None:
    if names not in content or values not in content:
        return None
    series = Series(time, tuple(str(n) for n in content[names]), content[values], content.get(std) if std else None)
    if series.values.shape[:2] != (len(time), len(series.names)):
        raise InputError(f"{values} has the shape {series.values.shape}, but there are {len(time)} times and {len(series.names)} {names}.")
    return series


def _points(path: Path) -> Series | None:
    if not path.is_file():
        return None
    trc = read_trc(path)
    return Series(np.asarray(trc.time_s), tuple(trc.names), np.asarray(trc.points))


def _coordinates(path: Path) -> Series | None:
    if not path.is_file():
        return None
    mot = read_mot(path)
    return Series(np.asarray(mot.time_s), tuple(mot.names), np.asarray(mot.values))


def _only(folder: Path, suffix: str) -> Path | None:
    if (folder / f"truth{suffix}").is_file():
        return folder / f"truth{suffix}"
    files = sorted(folder.glob(f"*{suffix}"))
    if len(files) > 1:
        raise InputError(f"The truth folder '{folder}' holds several {suffix} files ({', '.join(f.name for f in files)}); give one of them.")
    return files[0] if files else None


def _read_events(path: Path) -> list[tuple[float, str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return [(float(r["time_s"]), r["side"], r["event"]) for r in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"'{path}' is not a gait event table with the columns time_s, side and event: {error}.") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"'{path}' is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"'{path}' must hold a JSON object.")
    return content
