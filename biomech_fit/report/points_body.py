"""The body of a run over 3D points: its files, its entries in summary.json, its pictures. By the streaming solver, or by inverse kinematics of markers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from biomech_fit.core.marker_ik import IkSolution
from biomech_fit.formats.mot import write_mot
from biomech_fit.formats.points_recording import PointsRecording
from biomech_fit.formats.subject import write_subject
from biomech_fit.formats.trc import write_trc
from biomech_fit.report import pictures, pictures_pelvis
from biomech_fit.report.figures import status_counts
from biomech_fit.report.outputs import caption_of, png, write_trajectory
from biomech_fit.report.result import TrackResult
from biomech_fit.report.style import styled

ANGLES = "Joint angles"


@dataclass(eq=False)
class BodyPart:
    """What the body adds to the run's summary and report."""

    summary: dict[str, Any]
    pictures: list[tuple[str, str, str, bytes]] = field(default_factory=list)
    """(section, name, caption, PNG)"""
    angles: dict[str, np.ndarray] = field(default_factory=dict)
    """(T,) degrees by coordinate, the best there are."""


@dataclass(eq=False)
class MarkerSolution:
    """Inverse kinematics of a recording's markers by an OpenSim model."""

    model: str
    coordinate_names: Sequence[str]
    is_angle: np.ndarray
    """(N,)"""
    solution: IkSolution
    marker_names: Sequence[str]
    """M of the markers that were used."""
    markers: np.ndarray
    """(T, M, 3) m: the model's, z-up world."""
    measured: np.ndarray
    """(T, M, 3) m; NaN = missing."""
    wall_s: float


def write_fitted_body(
    out: str | Path, track: TrackResult, measured: np.ndarray, used: dict[str, str], recording: PointsRecording, report: bool, by: str = "streaming solver"
) -> BodyPart:
    """A fit's joint_angles.mot, keypoints.trc, joint_centres.trc and estimates.npz into `out` (causal) and `out`/smoothed, or of an offline fit into `out`, and
    subject.yaml. `by` says whose.

    `measured` (T, K, 3) m is what was fitted, of all the file's samples, of which the run may lack some (before the body was found, say); `used` says which
    of the file's points each keypoint is.
    """
    out = Path(out)
    there = np.isin(recording.stamps_ns, track.stamps_ns)
    measured = measured[there]
    for folder, trajectory in [(out, track.smoothed)] if track.offline else [(out, track.causal), (out / "smoothed", track.smoothed)]:
        write_trajectory(folder, track, trajectory)
    if track.subject_model is not None:
        write_subject(out / "subject.yaml", track.subject_model)
    latency = track.latency_s[np.isfinite(track.latency_s)]
    by_keypoint = {"by_keypoint": _medians(track.smoothed.keypoints - measured, track.keypoint_names)}
    pace = len(track.stamps_ns) / track.frame_rate_hz / track.wall_s if track.wall_s > 0 and track.frame_rate_hz else float("nan")
    summary: dict[str, Any] = {
        "body": by,
        "keypoint_set": track.keypoint_set.name,
        "keypoints": len(track.keypoint_names),
        "keypoints_used": used,
        "coordinates": len(track.coordinate_names),
        "status": status_counts(track.causal.status),
        "latency_ms": {f"p{q}": 1e3 * float(np.percentile(latency, q)) if len(latency) else float("nan") for q in (50, 95, 99)},
        "fit_wall_s": track.wall_s,
        "fit_realtime_factor": pace,
        "point_distance_mm": {
            **_distances(track.causal.keypoints - measured),
            **(by_keypoint if track.offline else {"smoothed": _distances(track.smoothed.keypoints - measured) | by_keypoint}),
        },
        "segment_lengths_m": {k: float(v) for k, v in track.segment_lengths_m.items()},
        "subject": track.subject,
    }
    turning = [(i, n) for i, n in enumerate(track.coordinate_names) if track.coordinate_is_angle[i]]
    degrees = [{n: _spread(np.degrees(t.position[:, i]), there) for i, n in turning} for t in (track.causal, track.smoothed)]
    if recording.angles:
        compared = {name: against(angles, recording.angles) for name, angles in zip(("causal", "smoothed"), degrees, strict=True)}
        summary["angles_of_the_file"] = compared["smoothed"] if track.offline else compared
    drawn = []
    if report:
        with styled():
            for name, figure in (("joint_angles", pictures.joint_angles(track)), ("pelvis", pictures_pelvis.pelvis(track))):
                drawn += [(ANGLES, name, caption_of(name, track.offline), png(figure))] if figure is not None else []
    return BodyPart(summary, drawn, degrees[1])


def write_marker_solution(out: str | Path, ik: MarkerSolution, recording: PointsRecording) -> BodyPart:
    """Inverse kinematics: joint_angles.mot and keypoints.trc (the model's markers). Every frame stands by itself, so `out` and `out`/smoothed hold the same."""
    coordinates, there = ik.solution.coordinates, np.isfinite(ik.solution.rms_m)
    time_s = recording.stamps_ns * 1e-9
    for folder in (Path(out), Path(out) / "smoothed"):
        folder.mkdir(parents=True, exist_ok=True)
        write_mot(folder / "joint_angles.mot", time_s[there], ik.coordinate_names, coordinates[there], in_degrees=True, is_angle=ik.is_angle)
        write_trc(folder / "keypoints.trc", time_s[there], list(ik.marker_names), ik.markers[there], frame_rate_hz=recording.frame_rate_hz or None)
    rms = 1e3 * ik.solution.rms_m[there]
    summary: dict[str, Any] = {
        "body": "inverse kinematics",
        "model": ik.model,
        "coordinates": len(ik.coordinate_names),
        "markers_used": list(ik.marker_names),
        "marker_rms_mm": {"median": float(np.median(rms)), "max": float(rms.max())} if len(rms) else None,
        "converged": int(ik.solution.converged.sum()),
        "iterations": ik.solution.iterations,
        "fit_wall_s": ik.wall_s,
        "point_distance_mm": {**_distances(ik.markers - ik.measured), "by_marker": _medians(ik.markers - ik.measured, ik.marker_names)},
    }
    degrees = {n: np.degrees(coordinates[:, i]) for i, n in enumerate(ik.coordinate_names) if ik.is_angle[i]}
    if recording.angles:
        summary["angles_of_the_file"] = against(degrees, recording.angles)
    return BodyPart(summary, angles=degrees)


def against(angles: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Differences in degrees, by coordinate, from angles that the file holds: RMS as they are, bias, and RMS without it."""
    out = {}
    for name in sorted(set(angles) & set(theirs)):
        off = (angles[name] - theirs[name] + 180.0) % 360.0 - 180.0
        off = off[np.isfinite(off)]
        if len(off):
            out[name] = {"rms_deg": float(np.sqrt(np.mean(off**2))), "bias_deg": float(off.mean()), "offset_removed_deg": float(off.std())}
    return out


def _spread(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Over all samples of the file (T,), NaN where the run has none."""
    out = np.full(len(there), np.nan)
    out[there] = values
    return out


def _distances(error: np.ndarray) -> dict[str, float]:
    distance = np.linalg.norm(error, axis=-1)
    distance = 1e3 * distance[np.isfinite(distance)]
    return {k: float(np.percentile(distance, q)) if len(distance) else float("nan") for k, q in (("median", 50), ("p95", 95))}


def _medians(error: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    distance = 1e3 * np.linalg.norm(error, axis=-1)
    return {n: float(np.median(d)) for n, column in zip(names, distance.T, strict=True) if len(d := column[np.isfinite(column)])}
