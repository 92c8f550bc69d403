"""Errors of an output against truth: the content of evaluation.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import linear_sum_assignment

from biomech_fit.core.errors import InputError
from biomech_fit.core.quaternions import rotation_angle_deg
from biomech_fit.formats.atomic import write_text
from biomech_fit.report.align import IDENTITY, Rigid, rigid_alignment
from biomech_fit.report.figures import json_ready
from biomech_fit.report.motion_data import MotionData, Series, read_loaded_cameras, read_output, read_truth

FLEXIONS = ("hip_flexion", "knee_angle", "ankle_angle")
MATCH_S = 0.15
"""An event within this of a true one of its foot and kind is the same event."""
END_MARGIN_S = 0.25
"""True events closer to the end are not asked for: no causal detector can have confirmed them."""
_Z95 = 1.959964

Poses = dict[str, tuple[np.ndarray, np.ndarray]]
"""Camera name to rotation (3, 3) and translation (3,), world to camera."""


def evaluate(out: str | Path, truth: str | Path, skip_s: float = 2.0) -> dict[str, Any]:
    """Compares an output folder with truth, writes `out`/evaluation.json and returns its content (docs/outputs.md; lengths in mm, angles in degrees).

    Args:
        out: folder that `track` or `fit` wrote; its `smoothed` sub-folder is compared too where there is one.
        truth: see `report.motion_data.read_truth`.
        skip_s: seconds at the beginning that do not count.

    Raises:
        InputError: nothing to compare, or files that cannot be read.
    """
    out, truth_path = Path(out), Path(truth)
    if not out.is_dir():
        raise InputError(f"The output folder '{out}' does not exist.")
    if not skip_s >= 0:
        raise InputError(f"skip_s must not be negative, but is {skip_s}.")
    true = read_truth(truth_path)
    loaded = read_loaded_cameras(truth_path)
    result: dict[str, Any] = {"skip_s": skip_s, "truth": str(truth)}
    for label, folder in (("causal", out), ("smoothed", out / "smoothed")):
        if folder.is_dir():
            result[label] = compare(read_output(folder), true, skip_s, loaded)
    if not any(_says_something(result.get(label, {})) for label in ("causal", "smoothed")):
        what = "no keypoint, joint centre, coordinate or event of the same name at the same times"
        raise InputError(f"'{out}' and '{truth}' have nothing in common after the first {skip_s:g} s: {what}.")
    write_text(out / "evaluation.json", json.dumps(json_ready(result), indent=2) + "\n")
    return result


def _says_something(compared: dict[str, Any]) -> bool:
    return bool({"keypoints", "joint_centres", "coordinates"} & set(compared)) or any(kind.get("matched") for kind in compared.get("events", {}).values())


def compare(estimate: MotionData, true: MotionData, skip_s: float = 2.0, loaded_cameras: Poses | None = None) -> dict[str, Any]:
    """One estimated motion against truth; parts that only one of them has are left out."""
    shift = 0.0
    if estimate.zero_ns is not None and true.zero_ns is not None:
        shift = (estimate.zero_ns - true.zero_ns) * 1e-9
    result: dict[str, Any] = {}
    alignment = IDENTITY
    for part in ("keypoints", "joint_centres"):
        matched = _match(getattr(estimate, part), getattr(true, part), shift, skip_s)
        if matched is None:
            continue
        names, mine, theirs, std = matched
        if part == "keypoints" or "keypoints" not in result:
            alignment = rigid_alignment(mine, theirs)
        result[part] = _point_errors(names, mine, theirs, alignment, std)
        result.setdefault("frames", len(mine))
    if "keypoints" in result or "joint_centres" in result:
        turned, moved = rotation_angle_deg(alignment.rotation, np.eye(3)), 1e3 * float(np.linalg.norm(alignment.translation))
        result["alignment"] = {"rotation_deg": turned, "translation_mm": moved}
    matched = _match(estimate.coordinates, true.coordinates, shift, skip_s, angles=True)
    if matched is not None:
        result.setdefault("frames", len(matched[1]))
        result |= _coordinate_errors(*matched)
    cameras = _camera_errors(estimate, true, alignment, loaded_cameras or {})
    if cameras:
        result["cameras"] = cameras
    segments = {n: (estimate.segment_lengths_m[n], v) for n, v in true.segment_lengths_m.items() if n in estimate.segment_lengths_m}
    if segments:
        result["segments"] = {
            n: {"estimate_mm": 1e3 * a, "truth_mm": 1e3 * b, "error_mm": 1e3 * (a - b), "error_percent": 100 * (a / b - 1)} for n, (a, b) in segments.items()
        }
        result["segment_error_mm_median"] = float(np.median([abs(s["error_mm"]) for s in result["segments"].values()]))
    if estimate.events is not None and true.events is not None:
        series = next((s for s in (true.coordinates, true.keypoints) if s is not None and len(s.time_s)), None)
        end = series.time_s[-1] if series is not None else max((t for t, _, _ in true.events), default=0.0) + END_MARGIN_S
        start = series.time_s[0] if series is not None else 0.0
        shifted = [(t + shift, side, kind) for t, side, kind in estimate.events]
        result["events"] = event_errors(shifted, true.events, start + skip_s, float(end) - END_MARGIN_S)
    return result


def _match(estimate: Series | None, true: Series | None, shift: float, skip_s: float, angles: bool = False):
    """Common names, and estimate and truth at the estimate's times after `skip_s` inside the truth's range; None without any."""
    if estimate is None or true is None or len(true.time_s) < 2:
        return None
    true = true.strictly_later()
    if len(true.time_s) < 2:
        return None
    names = [n for n in true.names if n in estimate.names]
    time = estimate.time_s + shift
    inside = (time >= true.time_s[0] + skip_s - 1e-6) & (time <= true.time_s[-1] + 1e-6)
    if not names or not inside.any():
        return None
    mine = np.asarray(estimate.values, float)[:, [estimate.names.index(n) for n in names]][inside]
    source = np.asarray(true.values, float)[:, [true.names.index(n) for n in names]]
    if angles:
        turns = [i for i, n in enumerate(names) if not _is_length(n)]
        source = source.copy()
        source[:, turns] = np.unwrap(source[:, turns], axis=0)
    theirs = _at(true.time_s, source, time[inside])
    std = None if estimate.std is None else np.asarray(estimate.std, float)[:, [estimate.names.index(n) for n in names]][inside]
    return names, mine, theirs, std


def _at(time: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Truth at other times by cubic splines; a name with missing values falls back to its nearest sample."""
    nearest = np.clip(np.searchsorted(time, wanted), 1, len(time) - 1)
    nearest -= (wanted - time[nearest - 1]) < (time[nearest] - wanted)
    out = values[nearest].copy()
    whole = np.isfinite(values).all(axis=(0, *range(2, values.ndim)))
    if whole.any():
        out[:, whole] = CubicSpline(time, values[:, whole], axis=0)(np.clip(wanted, time[0], time[-1]))
    return out


def _point_errors(names: list[str], mine: np.ndarray, theirs: np.ndarray, alignment: Rigid, std: np.ndarray | None) -> dict[str, Any]:
    raw, aligned = mine - theirs, alignment.apply(mine) - theirs
    distance, near = 1e3 * np.linalg.norm(raw, axis=-1), 1e3 * np.linalg.norm(aligned, axis=-1)
    result: dict[str, Any] = {
        "raw_mm": _spread(distance),
        "aligned_mm": _spread(near),
        "each": {n: {"raw_median_mm": _median(distance[:, i]), "aligned_median_mm": _median(near[:, i])} for i, n in enumerate(names)},
    }
    if std is not None:
        result["coverage95"] = {"raw": _coverage(raw, std), "aligned": _coverage(aligned, std)}
    return result


def _coordinate_errors(names: list[str], mine: np.ndarray, theirs: np.ndarray, std: np.ndarray | None) -> dict[str, Any]:
    """RMSE of each coordinate (degrees, or mm of the root's position) as it is and without its constant offset over the trial."""
    error = mine - theirs
    length = np.array([_is_length(n) for n in names])
    error[:, ~length] = np.angle(np.exp(1j * error[:, ~length]))
    centred = error - np.nanmean(np.where(np.isfinite(error).any(0), error, 0.0), axis=0)
    scale = np.where(length, 1e3, 180 / np.pi)
    raw, free = _rms(error) * scale, _rms(centred) * scale
    mean = scale * np.nanmean(np.where(np.isfinite(error).any(0), error, 0.0), axis=0)
    each = {
        n: {"unit": "mm" if length[i] else "deg", "rmse": float(raw[i]), "rmse_offset_removed": float(free[i]), "offset": float(mean[i])}
        for i, n in enumerate(names)
    }
    result: dict[str, Any] = {"coordinates": each}
    flexion: dict[str, Any] = {}
    for base in FLEXIONS:
        members = [i for i, n in enumerate(names) if n in (base, f"{base}_l", f"{base}_r")]
        if members:
            flexion[base] = {"rmse_deg": _pool(raw[members]), "rmse_offset_removed_deg": _pool(free[members])}
    if flexion:
        result["flexion"] = flexion | {
            "all": {k: _pool(np.array([f[k] for f in flexion.values()])) for k in ("rmse_deg", "rmse_offset_removed_deg")},
        }
    angles = [i for i in range(len(names)) if not length[i]]
    if angles:
        result["angles"] = {"rmse_deg": _pool(raw[angles]), "rmse_offset_removed_deg": _pool(free[angles])}
    if std is not None:
        result["coordinate_coverage95"] = {"raw": _coverage(error[:, angles], std[:, angles]), "offset_removed": _coverage(centred[:, angles], std[:, angles])}
    return result


def _camera_errors(estimate: MotionData, true: MotionData, alignment: Rigid, loaded: Poses) -> dict[str, Any]:
    """Per camera rotation (degrees) and centre (mm): as they are, and after the rigid alignment of the points, which takes out the free choice of the world."""
    each: dict[str, dict[str, float]] = {}
    for name in (n for n in true.cameras if n in estimate.cameras):
        target, pose = true.cameras[name], estimate.cameras[name]
        errors: dict[str, float] = {}
        compared = [("", pose), ("aligned_", alignment.camera(*pose)), *([("loaded_", loaded[name])] if name in loaded else [])]
        for label, (r, t) in compared:
            errors[f"{label}rotation_deg"] = rotation_angle_deg(r, target[0])
            errors[f"{label}centre_mm"] = 1e3 * float(np.linalg.norm(r.T @ t - target[0].T @ target[1]))
        if name in estimate.clock_offset_s and name in true.clock_offset_s:
            errors["time_offset_ms"] = 1e3 * (estimate.clock_offset_s[name] - true.clock_offset_s[name])
        each[name] = errors
    if not each:
        return {}
    keys = list(dict.fromkeys(k for e in each.values() for k in e))
    summary = {k: {"median": _median(v := np.array([abs(e[k]) for e in each.values() if k in e])), "max": float(v.max())} for k in keys}
    return {"each": each, **summary}


def event_errors(found: list[tuple[float, str, str]], true: list[tuple[float, str, str]], start_s: float, end_s: float) -> dict[str, Any]:
    """Bias, spread, missed and false events per kind. True events outside [start, end] are neither asked for nor counted as false when found."""
    result: dict[str, Any] = {}
    pooled = []
    for kind in ("initial_contact", "final_contact"):
        errors, missed, false = [], 0, 0
        for side in ("left", "right"):
            a = np.array([t for t, s, k in found if (s, k) == (side, kind)])
            b = np.array([t for t, s, k in true if (s, k) == (side, kind)])
            asked = (b >= start_s) & (b <= end_s)
            distance = np.abs(a[:, None] - b[None])
            rows, columns = linear_sum_assignment(np.where(distance <= MATCH_S, distance, 1e3)) if a.size and b.size else (np.zeros(0, int), np.zeros(0, int))
            pairs = [(i, j) for i, j in zip(rows, columns, strict=True) if distance[i, j] <= MATCH_S]
            errors += [a[i] - b[j] for i, j in pairs if asked[j]]
            missed += int(asked.sum()) - sum(bool(asked[j]) for _, j in pairs)
            taken = {i for i, _ in pairs}
            false += sum(start_s <= t <= end_s for i, t in enumerate(a) if i not in taken)
        pooled += errors
        result[kind] = {**_event_spread(errors), "missed": missed, "false": int(false)}
    result["all"] = {**_event_spread(pooled), "missed": sum(r["missed"] for r in result.values()), "false": sum(r["false"] for r in result.values())}
    return result


def _event_spread(errors: list[float]) -> dict[str, float]:
    ms = 1e3 * np.array(errors)
    return {
        "matched": len(errors),
        "bias_ms": float(ms.mean()) if ms.size else np.nan,
        "sd_ms": float(ms.std(ddof=1)) if ms.size > 1 else np.nan,
        "median_abs_ms": float(np.median(np.abs(ms))) if ms.size else np.nan,
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return {"median": np.nan, "mean": np.nan, "p95": np.nan}
    return {"median": float(np.median(finite)), "mean": float(finite.mean()), "p95": float(np.percentile(finite, 95))}


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def _rms(values: np.ndarray) -> np.ndarray:
    some = np.isfinite(values).any(0)
    return np.where(some, np.sqrt(np.nanmean(np.where(some, values, 0.0) ** 2, axis=0)), np.nan)


def _pool(values: np.ndarray) -> float:
    """Root mean square of several RMS values of equal weight."""
    finite = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(finite**2))) if finite.size else float("nan")


def _coverage(error: np.ndarray, std: np.ndarray) -> float:
    """Share of the errors inside the 95 % interval."""
    good = np.isfinite(error) & np.isfinite(std)
    return float(np.mean(np.abs(error[good]) <= _Z95 * std[good])) if good.any() else float("nan")


def _is_length(name: str) -> bool:
    return name.endswith(("_tx", "_ty", "_tz"))
