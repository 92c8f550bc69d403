"""`biomech-fit track` on a .c3d or .trc file: gait events and steps from the 3D points themselves, and the body that is fitted to them."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from biomech_fit.formats.folder import make_folder

FEET = ("LHeel", "RHeel", "LBigToe", "RBigToe")


def step_settings(config: Any, skip_steps: int | None) -> Any:
    """Which steps count in the means: the settings' entries, or what --skip-steps says."""
    from biomech_fit.core.errors import InputError
    from biomech_fit.core.gait_summary import SummarySettings

    if skip_steps is not None and skip_steps < 0:
        raise InputError(f"--skip-steps is {skip_steps}; it must be 0 or more.")
    settings = SummarySettings(**asdict(config.steps))
    return settings if skip_steps is None else replace(settings, skip_steps=skip_steps)


def run_points(args: argparse.Namespace) -> int:
    """Reads the gait, fits the body and writes OUT. Raises InputError for options that need cameras, and for a file that is of no use."""
    from biomech_fit.cli.points_body import fit_body, is_osim, solve_markers, wanted_points
    from biomech_fit.config import FitConfig, load_config
    from biomech_fit.config.version import version
    from biomech_fit.core.errors import InputError
    from biomech_fit.formats.points_recording import open_points
    from biomech_fit.report.outputs import forget_earlier
    from biomech_fit.report.points_body import write_fitted_body, write_marker_solution
    from biomech_fit.report.points_report import PointsResult, write_points_outputs

    given = {"--calibration": args.calibration, "--no-refine-cameras": args.no_refine_cameras, "--frame-rate": args.frame_rate}
    useless = [name for name, value in given.items() if value]
    if useless:
        raise InputError(f"{' and '.join(useless)} cannot be used with '{args.recording.name}': 3D points need no cameras, and their file says its rate.")
    by_markers = is_osim(args.model) and not args.no_body
    if args.ik_tasks and not by_markers:
        raise InputError("--ik-tasks is for --model M.osim, whose markers it weighs; no OpenSim model is fitted here.")
    recording = open_points(args.recording, points_map=args.points_map, world_up=args.world_up, need_feet=False)
    config = load_config(args.config) if args.config else FitConfig()
    settings = step_settings(config, args.skip_steps)
    found = None if by_markers else wanted_points(args, recording)
    if recording.feet is None and found is None and not by_markers:
        raise InputError(recording.no_feet + ("" if args.no_body else " Nor do they fit a keypoint set (--keypoint-set)."))
    make_folder(args.out)
    began = time.perf_counter()
    causal, smoothed = read_gait(recording, config)
    part, report = None, not args.no_report
    solution = solve_markers(args, recording) if by_markers else fit_body(args, recording, found, config) if found is not None else None
    forget_earlier(args.out, [args.recording])
    if by_markers:
        part = write_marker_solution(args.out, solution, recording)
    elif found is not None:
        part = write_fitted_body(args.out, solution, found.xyz, found.used, recording, report)
    wall_s = time.perf_counter() - began
    # After the body's files: gait from the points themselves is the better one.
    summary = write_points_outputs(args.out, PointsResult(recording, causal, smoothed, wall_s, version(), settings, part), report=report)
    for notice in recording.notices:
        print(notice, file=sys.stderr)
    say_summary(args.out, summary)
    return 0


def read_gait(recording: Any, config: Any) -> Any:
    """(events, steps), causal and offline; none without feet."""
    from biomech_fit.core.gait import FeetAt, GaitDetector, GaitSettings
    from biomech_fit.core.gait_recording import causal_gait, offline_gait

    if recording.feet is None:
        return ([], []), ([], [])
    detector = GaitDetector(FEET, settings=GaitSettings(**asdict(config.gait)))
    frames = [FeetAt(*frame) for frame in zip(recording.stamps_ns.tolist(), recording.feet.heels, recording.feet.toes, strict=True)]
    return causal_gait(detector, frames), offline_gait(detector, frames)


def say_summary(out: Path, summary: dict[str, Any]) -> None:
    """A few lines on what was found."""
    from biomech_fit.report.points_report import NO_BODY, NO_GAIT

    events, steps, used = summary["events"], summary["steps"], summary["points_used"]
    points = "; ".join(f"{role.replace('_', ' ')}: {names}" for role, names in used.items())
    if used:
        print(f"Points by the map {summary['points_map']}, {summary['world_up']} up. {points}.")
        print(f"{events['initial_contact']} initial and {events['final_contact']} final contacts, {steps['count']} steps in {summary['frames']} samples.")
    else:
        print(NO_GAIT)
    if "labels" in summary:
        for kind in ("initial_contact", "final_contact"):
            r = summary["labels"]["smoothed"][kind]
            matched = f"{r['matched']} matched" + (f", bias {r['bias_ms']:+.1f} ms, sd {r['sd_ms']:.1f} ms" if r["matched"] else "")
            print(f"Against the file's labels, {kind.replace('_', ' ')}: {matched}, {r['missed']} missed, {r['false']} false.")
    if summary["body_fitted"]:
        _say_body(summary)
    else:
        print(NO_BODY)
    angles = "joint_angles.mot, keypoints.trc, " if summary["body_fitted"] else ""
    both = "; smoothed/ holds the same, gait there with the whole recording known" if "causal" in events else ""
    print(f"Written: {out} ({angles}gait_events.csv, steps.csv, summary.json ...{both})")


def _say_body(summary: dict[str, Any]) -> None:
    off = summary["point_distance_mm"]
    if summary["body"] == "inverse kinematics":
        rate = summary["frames"] / max(summary["fit_wall_s"], 1e-9)
        print(
            f"Inverse kinematics of {len(summary['markers_used'])} markers with {summary['model']}: {summary['coordinates']} coordinates, "
            f"{summary['converged']} of {summary['frames']} frames at rest, markers off by {off['median']:.1f} mm (median); {rate:.0f} frames per second."
        )
        return
    fitted = summary["status"].get("OK", 0) + summary["status"].get("REINITIALISED", 0)
    points = f"{off['median']:.1f} mm" + (f", smoothed {off['smoothed']['median']:.1f} mm (medians)" if "smoothed" in off else " (median)")
    pace = f"; {summary['fit_realtime_factor']:.1f} x real time" if "smoothed" in off else ""
    print(
        f"Body fitted to {len(summary['keypoints_used'])} points as {summary['keypoint_set']}: {fitted} of {summary['frames']} frames, points off by "
        f"{points}{pace}."
    )
