"""The numbers of a run: reprojection errors, GC_x, camera corrections, and the content of summary.json."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from biomech_fit.core.camera import Camera
from biomech_fit.core.gait_summary import PARAMETERS, SummarySettings, summarise_steps
from biomech_fit.core.quaternions import rotation_angle_deg
from biomech_fit.core.steps import StepParameters
from biomech_fit.core.types import EventType, GaitEvent, Status
from biomech_fit.report.result import Comparison, TrackResult


def gc_share(errors_px: np.ndarray, limit_px: float) -> float:
    """GC_x: share of the counted keypoints whose error is under x px (Cotton 2024, arXiv 2402.17192); NaN without any. NaN errors are not counted."""
    counted = errors_px[np.isfinite(errors_px)]
    return float(np.mean(counted < limit_px)) if counted.size else math.nan


GC_LIMITS_PX = np.linspace(0, 50, 201)
"""x of the GC_x curves."""


def gc_curve(errors_px: np.ndarray, limits_px: np.ndarray) -> np.ndarray:
    """GC_x at all `limits_px` (any shape); NaN without any counted keypoint."""
    counted = np.sort(errors_px[np.isfinite(errors_px)])
    return np.searchsorted(counted, limits_px, side="left") / counted.size if counted.size else np.full(np.shape(limits_px), np.nan)


def reprojection_figures(before_px: np.ndarray, after_px: np.ndarray) -> dict[str, float]:
    """Medians, 95th percentile and GC_5, GC_10 of errors through the loaded (`before_px`) and the refined cameras, any shape, NaN = not counted."""
    return {
        "median_before": _quantile(before_px, 50),
        "median": _quantile(after_px, 50),
        "p95": _quantile(after_px, 95),
        "gc5": gc_share(after_px, 5.0),
        "gc10": gc_share(after_px, 10.0),
        "p95_before": _quantile(before_px, 95),
        "gc5_before": gc_share(before_px, 5.0),
        "gc10_before": gc_share(before_px, 10.0),
        "count": int(np.isfinite(after_px).sum()),
    }


def camera_correction(loaded: Camera, refined: Camera) -> dict[str, float]:
    """How far refinement turned a camera (degrees) and moved its centre (mm), and where its lens was corrected, by how much."""
    correction = {
        "rotation_deg": rotation_angle_deg(refined.rotation, loaded.rotation),
        "translation_mm": 1e3 * float(np.linalg.norm(refined.centre - loaded.centre)),
    }
    if not np.array_equal(refined.matrix, loaded.matrix):
        correction["focal_percent"] = 100 * float(refined.matrix[0, 0] / loaded.matrix[0, 0] - 1)
    terms = [np.r_[camera.distortion, np.zeros(2)][:2] for camera in (loaded, refined)]
    if not np.array_equal(*terms):
        correction |= dict(zip(("k1", "k2"), (terms[1] - terms[0]).tolist(), strict=True))
    return correction


def summarise(result: TrackResult) -> dict[str, Any]:
    """The content of summary.json (see docs/outputs.md); NaN where a figure could not be had."""
    before, after = result.errors_px(before=True), result.errors_px()
    latency = result.latency_s[np.isfinite(result.latency_s)]
    frames = len(result.stamps_ns)
    duration = frames / result.frame_rate_hz if result.frame_rate_hz else math.nan
    reprojection: dict[str, Any] = reprojection_figures(before, after)
    reprojection["per_camera"] = {c.name: reprojection_figures(before[:, i], after[:, i]) for i, c in enumerate(result.cameras_loaded)}
    seen = np.flatnonzero(np.isfinite(after).any((0, 1)))
    reprojection["per_keypoint"] = {result.keypoint_names[k]: reprojection_figures(before[:, :, k], after[:, :, k]) for k in seen}
    correction: dict[str, dict[str, float]] = {}
    for i, (loaded, refined) in enumerate(zip(result.cameras_loaded, result.cameras_refined, strict=True)):
        correction[loaded.name] = camera_correction(loaded, refined)
        if result.clock_offset_s is not None:
            correction[loaded.name]["time_offset_ms"] = 1e3 * float(result.clock_offset_s[i])
    summary: dict[str, Any] = {
        "frames": frames,
        "frame_rate_hz": result.frame_rate_hz,
        "cameras": len(result.cameras_loaded),
        "camera_names": [c.name for c in result.cameras_loaded],
        "keypoints": len(result.keypoint_names),
        "keypoint_set": result.keypoint_set.name,
        "coordinates": len(result.coordinate_names),
        "source": result.source,
        "subject": result.subject,
        "start_stamp_ns": result.zero_ns,
        "world_up": result.world_up,
        "wall_s": result.wall_s,
        "realtime_factor": duration / result.wall_s if result.wall_s > 0 else math.nan,
        "latency_ms": {f"p{q}": 1e3 * _quantile(latency, q) for q in (50, 95, 99)},
        "status": status_counts(result.causal.status),
        "reprojection_px": reprojection,
        **({} if result.comparison is None else {"comparison": compared(result.comparison)}),
        "camera_correction": correction,
        "segment_lengths_m": {k: float(v) for k, v in result.segment_lengths_m.items()},
        "events": event_counts(result.smoothed.events) | ({} if result.offline else {"causal": event_counts(result.causal.events)}),
        "steps": step_means(result.smoothed.steps),
        "gait_summary": gait_figures(result.smoothed.steps, result.step_settings),
        "notices": list(result.notices),
        "version": result.version,
    }
    return {**summary, **result.extra}


def compared(comparison: Comparison) -> dict[str, Any]:
    """Median, 95th percentile, GC_5 and GC_10 (px) of each method, on what all have seen and on what none has."""
    return {
        kind: {
            label: {"median": _quantile(e, 50), "p95": _quantile(e, 95), "gc5": gc_share(e, 5.0), "gc10": gc_share(e, 10.0), "count": int(np.isfinite(e).sum())}
            for label, e in methods.items()
        }
        for kind, methods in (("seen", comparison.seen), ("held_out", comparison.held_out))
    }


def status_counts(status: np.ndarray) -> dict[str, int]:
    """Frames by the name of their status, without those that did not occur."""
    counts = Counter(int(s) for s in status)
    return {s.name: counts[s] for s in Status if counts[s]}


def event_counts(events: list[GaitEvent]) -> dict[str, int]:
    """Number of initial and final contacts."""
    return {kind.name.lower(): sum(e.type == kind for e in events) for kind in EventType}


def step_means(steps: Sequence[StepParameters]) -> dict[str, float]:
    """Number of steps, and mean of each step parameter over all of them (NaN where there is none)."""
    names = (
        "step_length_m", "stride_length_m", "step_width_m", "step_time_s", "stride_time_s", "stance_time_s", "swing_time_s", "double_support_time_s",
        "cadence_steps_per_min", "speed_m_s",
    )  # fmt: skip
    means: dict[str, float] = {"count": len(steps)}
    for name in names:
        values = np.array([getattr(s, name) for s in steps], float)
        means[name] = float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else math.nan
    return means


def gait_figures(steps: Sequence[StepParameters], settings: SummarySettings) -> dict[str, Any]:
    """Means, variability and symmetry over the whole walk (`core.gait_summary`)."""
    summary = summarise_steps(steps, settings, everything=True)
    rows = {
        name: {
            "mean": summary.mean[0, i], "sd": summary.sd[0, i], "cv": summary.cv[0, i], "left_mean": summary.mean[1, i], "left_sd": summary.sd[1, i],
            "right_mean": summary.mean[2, i], "right_sd": summary.sd[2, i], "symmetry": summary.symmetry[i],
        }
        for i, name in enumerate(PARAMETERS)
    }  # fmt: skip
    left, right = summary.steps
    counts = {"steps_left": left, "steps_right": right, "skipped": summary.skipped, "turning": summary.turning}
    return {**counts, "skip_steps": settings.skip_steps, "turn_deg": settings.turn_deg, "parameters": rows}


def json_ready(value: Any) -> Any:
    """The same with plain Python numbers, and null for what is not finite (JSON has no NaN)."""
    if isinstance(value, dict):
        return {str(k): json_ready(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(v) for v in value]
    if isinstance(value, np.ndarray):
        return json_ready(value.tolist())
    if isinstance(value, np.generic):
        return json_ready(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _quantile(values: np.ndarray, percent: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.percentile(finite, percent)) if finite.size else math.nan
