"""The output folder of a run: what users, other programs and `evaluate` read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from biomech_fit.core.steps import StepParameters
from biomech_fit.core.types import EventType, GaitEvent, Side
from biomech_fit.formats.atomic import replacing, write_text
from biomech_fit.formats.calibration import write_calibration
from biomech_fit.formats.mot import write_mot
from biomech_fit.formats.subject import write_subject
from biomech_fit.formats.trc import write_trc
from biomech_fit.formats.world_up import fallen_camera
from biomech_fit.report import html, pictures, pictures_cameras, pictures_gait, pictures_gc, pictures_pelvis
from biomech_fit.report.figures import gc_curve, json_ready, summarise
from biomech_fit.report.gait_view import GaitView, view_of
from biomech_fit.report.pictures_cycles import gait_cycles
from biomech_fit.report.pictures_strip import strip
from biomech_fit.report.result import TrackResult, Trajectory
from biomech_fit.report.style import styled

EVENT_COLUMNS = ("time_s", "side", "event", "x_m", "y_m", "z_m", "time_std_s", "confidence", "detection_delay_s")
STEP_COLUMNS = (
    "time_s", "side", "step_length_m", "stride_length_m", "step_width_m", "step_time_s", "stride_time_s", "stance_time_s", "swing_time_s",
    "double_support_time_s", "cadence_steps_per_min", "speed_m_s", "single_support_time_s", "walk_ratio_m_min", "step_length_std_m", "stride_length_std_m",
    "step_width_std_m", "step_time_std_s", "stride_time_std_s", "stance_time_std_s", "swing_time_std_s", "double_support_time_std_s",
    "cadence_std_steps_per_min", "speed_std_m_s", "single_support_time_std_s", "walk_ratio_std_m_min", "turn_rad", "walk_index", "belt_speed_m_s",
)  # fmt: skip


TRAJECTORY_FILES = ("joint_angles.mot", "keypoints.trc", "joint_centres.trc", "estimates.npz", "gait_events.csv", "steps.csv")
"""What `write_trajectory` writes."""


def write_outputs(out: str | Path, result: TrackResult, report: bool = True) -> None:
    """Writes everything that a run leaves behind into the folder `out` (made where it is missing); docs/outputs.md describes each file.

    The causal result goes into `out`, the smoothed one under the same names into `out/smoothed`; an offline fit's into `out`. Each file is written whole.
    `report` False leaves out report.html and the pictures.
    """
    out = Path(out)
    forget_earlier(out)
    if result.offline:
        write_trajectory(out, result, result.smoothed)
    else:
        write_trajectory(out, result, result.causal)
        write_trajectory(out / "smoothed", result, result.smoothed)
    like = result.calibration if result.calibration is not None and result.calibration.format == "pose2sim" else "pose2sim"
    if result.cameras_refined:
        write_calibration(out / "calibration.toml", [fallen_camera(c, result.world_up) for c in result.cameras_refined], like)
    if result.subject_model is not None:
        write_subject(out / "subject.yaml", result.subject_model)
    if np.isfinite(result.errors_px()).any():
        write_text(out / "gc_curves.csv", gc_csv(result))
    summary = summarise(result)
    if report:
        drawn = _draw(result)
        for _, name, _, picture in drawn:
            with replacing(out / "pictures" / f"{name}.png") as path:
                path.write_bytes(picture)
        write_text(out / "report.html", html.render(summary, drawn))
    write_text(out / "summary.json", json.dumps(json_ready(summary), indent=2) + "\n")


def forget_earlier(out: Path, keep: Sequence[Path] = ()) -> None:
    """What an earlier run wrote into this folder goes first, but the calibration and the body, which this one may have read there: after an interruption
    nothing says that it is whole, and nothing stays that this one does not write.

    Only of a run, and only what a run writes; `keep`: this run's recordings, which may be results of that one.
    """
    kept = {path.resolve() for path in keep}
    if not ((out / "estimates.npz").is_file() or _is_summary(out / "summary.json")):
        return
    whole = [out / name for name in ("summary.json", "report.html", "evaluation.json", "gc_curves.csv", *TRAJECTORY_FILES)]
    smoothed = [out / "smoothed" / name for name in TRAJECTORY_FILES]
    for path in (*whole, *smoothed, *(out / "pictures").glob("*.png")):
        if path.resolve() not in kept:
            path.unlink(missing_ok=True)
    if (out / "smoothed").is_dir() and not any((out / "smoothed").iterdir()):
        (out / "smoothed").rmdir()


def _is_summary(path: Path) -> bool:
    """Whether it is a run's summary.json."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"version", "source", "events"} <= content.keys()


def write_trajectory(folder: Path, result: TrackResult, trajectory: Trajectory) -> None:
    """Angles, points, gait and estimates.npz of one trajectory.

    Frames without an estimate are left out of .mot and .trc (OpenSim reads no NaN), and .trc where there is none; estimates.npz has all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = np.isfinite(trajectory.position).all(1)
    time, rate = result.time_s[there], result.frame_rate_hz or None
    write_mot(folder / "joint_angles.mot", time, result.coordinate_names, trajectory.position[there], in_degrees=True, is_angle=result.coordinate_is_angle)
    if len(time):
        on_body = np.asarray(np.isfinite(trajectory.keypoints).any((0, 2)))
        names = [n for n, b in zip(result.keypoint_names, on_body, strict=True) if b]
        write_trc(folder / "keypoints.trc", time, names, trajectory.keypoints[there][:, on_body], frame_rate_hz=rate)
        write_trc(folder / "joint_centres.trc", time, list(result.joint_centre_names), trajectory.joint_centres[there], frame_rate_hz=rate)
    else:  # a .trc without a frame is of no use to any reader, and one of an earlier run would be taken for this run's
        for name in ("keypoints.trc", "joint_centres.trc"):
            (folder / name).unlink(missing_ok=True)
    write_text(folder / "gait_events.csv", events_csv(trajectory.events, result.zero_ns))
    write_text(folder / "steps.csv", steps_csv(trajectory.steps, result.zero_ns))
    with replacing(folder / "estimates.npz") as path:
        np.savez_compressed(
            path,
            time_s=result.time_s,
            stamp_ns=np.asarray(result.stamps_ns, np.int64),
            status=np.asarray(trajectory.status, np.int16),
            coordinate_names=np.array(result.coordinate_names, dtype=np.str_),
            coordinate_is_angle=np.asarray(result.coordinate_is_angle, bool),
            coordinates=trajectory.position,
            coordinate_std=trajectory.position_std,
            velocities=trajectory.velocity,
            keypoint_names=np.array(result.keypoint_names, dtype=np.str_),
            keypoints=trajectory.keypoints,
            keypoint_std=trajectory.keypoint_std,
            joint_centre_names=np.array(result.joint_centre_names, dtype=np.str_),
            joint_centres=trajectory.joint_centres,
        )


def events_csv(events: list[GaitEvent], zero_ns: int) -> str:
    """gait_events.csv: one line per event in order of time, seconds since `zero_ns`, positions in world axes."""
    lines = [",".join(EVENT_COLUMNS)]
    for e in sorted(events, key=lambda e: (e.stamp_ns, e.side)):
        kind = "initial_contact" if e.type == EventType.INITIAL_CONTACT else "final_contact"
        x, y, z = e.position
        place = f"{x:.4f},{y:.4f},{z:.4f}"
        lines.append(f"{_seconds(e.stamp_ns, zero_ns)},{_side(e.side)},{kind},{place},{e.time_std_s:.4f},{e.confidence:.3f},{e.detection_delay_s:.4f}")
    return "\n".join(lines) + "\n"


def steps_csv(steps: list[StepParameters], zero_ns: int) -> str:
    """steps.csv: one line per completed step; empty where a needed event is missing."""
    lines = [",".join(STEP_COLUMNS)]
    for s in sorted(steps, key=lambda s: s.stamp_ns):
        values = (getattr(s, name) for name in STEP_COLUMNS[2:])
        lines.append(f"{_seconds(s.stamp_ns, zero_ns)},{_side(s.side)}," + ",".join(_number(v) for v in values))
    return "\n".join(lines) + "\n"


def gc_csv(result: TrackResult) -> str:
    """gc_curves.csv: GC_x at x = 0, 1, ... 50 px of all, of each camera and of each keypoint, before and after the cameras' refinement."""
    x, errors = np.arange(51), (result.errors_px(before=True), result.errors_px())
    columns = {"x_px": x.astype(float)}
    groups = {"all": np.s_[:], **{c.name: np.s_[:, i] for i, c in enumerate(result.cameras_loaded)}}
    groups |= {name: np.s_[:, :, k] for k, name in enumerate(result.keypoint_names) if np.isfinite(errors[1][:, :, k]).any()}
    for name, part in groups.items():
        columns |= {f"{name}{suffix}": gc_curve(e[part], x) for suffix, e in zip(("_before", ""), errors, strict=True)}
    rows = np.stack(list(columns.values()), 1)
    return "\n".join([",".join(columns), *(",".join(f"{v:.4g}" if np.isfinite(v) else "" for v in row) for row in rows)]) + "\n"


def _number(value: float) -> str:
    """Counts as they are, others to five digits behind the point; empty where not known."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.5f}" if np.isfinite(value) else ""


def _seconds(stamp_ns: int, zero_ns: int) -> str:
    return f"{(stamp_ns - zero_ns) * 1e-9:.4f}"


def _side(side: Side) -> str:
    return "left" if side == Side.LEFT else "right"


GAIT_SECTION = "Gait"
_GAIT_PICTURES: tuple[tuple[str, str, Callable[[GaitView], Figure | None]], ...] = (
    ("gait_cycles", "Angles over the gait cycle: one initial contact of a foot to its next. Tilt and obliquity are about the pelvis' own axes.", gait_cycles),
    ("footprints", "Footprints from above, in true proportion: each foot's median place in stance. Dots: heels.", pictures_gait.floor),
    ("gait_events", "Heights of heel and toe; initial contacts on the heel, final contacts on the toe.", pictures_gait.gait_events),
)
_PICTURES: tuple[tuple[str, str, str, Callable[[TrackResult], Figure | None]], ...] = (
    ("Skeleton over time", "strip", "The fitted body from its right side at moments of equal distance in time. Red: right, blue: left.", strip),
    ("Joint angles", "joint_angles", "Thick: smoothed, with its 95 % band; thin: causal. Blue: left, red: right.", pictures.joint_angles),
    ("Pelvis", "pelvis", "Position and orientation; below each, causal minus smoothed between the 95 % bands of both.", pictures_pelvis.pelvis),
    ("Reprojection", "gc_curves", "GC_x: share of the keypoints with confidence ≥ 0.5 that lie under x px from the fitted body.", pictures_gc.gc_curves),
    ("Reprojection", "comparison", "The end-to-end fit, and robust triangulation followed by inverse kinematics of the same body.", pictures_gc.comparison),
    ("Reprojection", "gc_keypoints", "GC_x of each keypoint over all cameras.", pictures_gc.gc_keypoints),
    (html.CAMERA_SECTION, "scene", "The body's way through the cameras. Grey: cameras as loaded, coloured: refined.", pictures_cameras.scene),
    ("Run", "status", "Status of every frame, cameras that see the person, and the median reprojection error.", pictures.status_timeline),
    ("Run", "latency", "Time from a frame set's closing to its result.", pictures.latency),
)


_OFFLINE_CAPTIONS = {
    "joint_angles": "The fit with its 95 % band. Blue: left, red: right.",
    "pelvis": "Position and orientation; below each its 95 % band.",
    "latency": "",
}
"""What is said of an offline fit's pictures, where it is not the same; empty = no such picture."""


def caption_of(picture: str, offline: bool) -> str:
    """What is written under a picture of this name; empty = an offline fit has no such picture."""
    usual = next(caption for _, name, caption, _ in _PICTURES if name == picture)
    return _OFFLINE_CAPTIONS.get(picture, usual) if offline else usual


def _draw(result: TrackResult) -> list[tuple[str, str, str, bytes]]:
    """(section, name, caption, PNG) of each picture that there is something for."""
    drawn = []
    view = view_of(result)
    gait = [] if view is None else draw_gait(view)
    with styled():
        for section, name, _, function in _PICTURES:
            if name == "gc_curves":
                drawn += gait
            caption = caption_of(name, result.offline)
            figure = function(result) if caption else None
            if figure is not None:
                drawn.append((section, name, caption, png(figure)))
            if name == "gc_curves":
                for i, overlay in enumerate(pictures_cameras.reprojections(result)):
                    caption = "The fitted body over the detected keypoints (px), cropped round the person. Lines: refined cameras; dashed: loaded cameras."
                    drawn.append(("Reprojection", f"reprojection_{i + 1}", caption, png(overlay)))
    return drawn


def draw_gait(view: GaitView) -> list[tuple[str, str, str, bytes]]:
    """(section, name, caption, PNG) of the gait pictures that there is something for."""
    with styled():
        figures = [(name, caption, function(view)) for name, caption, function in _GAIT_PICTURES]
        return [(GAIT_SECTION, name, caption, png(figure)) for name, caption, figure in figures if figure is not None]


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
