"""Errors of one pipeline's output against what the detector aimed at, Plug-in-Gait and the true cameras."""

from __future__ import annotations

import numpy as np
from output import Output
from recordings import RATE_HZ, Recording
from walks import FLEXIONS

from biomech_fit.core.camera import Camera
from biomech_fit.core.quaternions import rotation_angle_deg
from biomech_fit.report.align import rigid_alignment

SKIP_S = 0.5
LEGS = tuple(side + point for point in ("Hip", "Knee", "Ankle", "Heel", "BigToe", "SmallToe") for side in "RL")
_Z95 = 1.959964


def score(output: Output, recording: Recording, keypoint_names: tuple[str, ...], skip_s: float = SKIP_S) -> dict[str, float]:
    """All figures of one walk: mm, degrees, shares, ms. The first `skip_s` do not count."""
    counted = slice(round(skip_s * RATE_HZ), None)
    legs = [keypoint_names.index(name) for name in LEGS]
    mine, true = output.points[counted][:, legs], recording.points[counted][:, legs]
    raw = 1e3 * np.linalg.norm(mine - true, axis=-1)
    aligned = 1e3 * np.linalg.norm(rigid_alignment(mine, true).apply(mine) - true, axis=-1)
    out = {
        "frames": float(np.isfinite(raw).all(1).mean()),
        "raw_mm": float(np.nanmedian(raw)),
        "aligned_mm": float(np.nanmedian(aligned)),
        "raw_p95_mm": float(np.nanpercentile(raw, 95)),
        "ms_per_frame": output.ms_per_frame,
        "cpu_ms_per_frame": output.cpu_ms_per_frame,
    }
    error = output.angles[counted] - recording.angles[counted]
    free = error - np.nanmean(error, axis=0)
    for joint in ("hip_flexion", "knee_angle", "ankle_angle"):
        own = [i for i, name in enumerate(FLEXIONS) if name.startswith(joint)]
        name = joint.split("_")[0]
        out[f"{name}_raw_deg"] = float(np.sqrt(np.nanmean(error[:, own] ** 2)))
        out[f"{name}_deg"] = float(np.sqrt(np.nanmean(free[:, own] ** 2)))
    if output.point_std is not None and output.angle_std is not None:
        out["points_in_95"] = _coverage(mine - true, output.point_std[counted][:, legs])
        out["angles_in_95"] = _coverage(free, output.angle_std[counted])
        out["angles_raw_in_95"] = _coverage(error, output.angle_std[counted])
    return out if output.cameras is None else out | camera_errors(output.cameras, recording.true)


def _coverage(error: np.ndarray, std: np.ndarray) -> float:
    """Share of the errors within their 95 % interval."""
    known = np.isfinite(error) & np.isfinite(std)
    return float((np.abs(error[known]) <= _Z95 * std[known]).mean())


def camera_errors(cameras: list[Camera], true: list[Camera]) -> dict[str, float]:
    """Means over the cameras after the rig's rotation, size and place, which no picture tells, are brought to the true ones.

    The rotation is that which the cameras' orientations agree on (chordal mean), size and place are those that bring the centres nearest.
    """
    u, _, vt = np.linalg.svd(sum(t.rotation.T @ c.rotation for c, t in zip(cameras, true, strict=True)))
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    turned = [rotation_angle_deg(c.rotation @ turn.T, t.rotation) for c, t in zip(cameras, true, strict=True)]
    mine, theirs = (np.array([c.centre for c in rig]) for rig in (cameras, true))
    mine, theirs = (mine - mine.mean(0)) @ turn.T, theirs - theirs.mean(0)
    moved = np.linalg.norm((mine * theirs).sum() / (mine**2).sum() * mine - theirs, axis=1)
    return {"camera_deg": float(np.mean(turned)), "camera_mm": 1e3 * float(np.mean(moved)), "camera_worst_deg": float(np.max(turned))}
