"""`biomech-fit track` on a .c3d or .trc file: gait events and steps from the 3D points, without cameras and without a body."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from biomech_fit.cli.folders import make_folder

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
    """Reads the gait and writes OUT. Raises InputError for options that need cameras, and for a file that is of no use."""
    from biomech_fit.config import FitConfig, load_config
    from biomech_fit.config.version import version
    from biomech_fit.core.errors import InputError
    from biomech_fit.core.gait import FeetAt, GaitDetector, GaitSettings
    from biomech_fit.core.gait_recording import causal_gait, offline_gait
    from biomech_fit.formats.points_recording import open_points
    from biomech_fit.report.points_report import NO_BODY, PointsResult, write_points_outputs

    given = {"--subject": args.subject, "--model": args.model, "--calibration": args.calibration, "--keypoint-set": args.keypoint_set}
    useless = [name for name, value in given.items() if value]
    if useless:
        raise InputError(f"{' and '.join(useless)} cannot be used with '{args.recording.name}': no body is fitted to 3D points yet.")
    recording = open_points(args.recording, points_map=args.points_map, world_up=args.world_up)
    config = load_config(args.config) if args.config else FitConfig()
    settings = step_settings(config, args.skip_steps)
    make_folder(args.out)
    began = time.perf_counter()
    detector = GaitDetector(FEET, settings=GaitSettings(**asdict(config.gait)))
    frames = [FeetAt(*frame) for frame in zip(recording.stamps_ns.tolist(), recording.feet.heels, recording.feet.toes, strict=True)]
    causal, smoothed = causal_gait(detector, frames), offline_gait(detector, frames)
    result = PointsResult(recording, causal, smoothed, time.perf_counter() - began, version(), settings)
    summary = write_points_outputs(args.out, result, report=not args.no_report)
    for notice in recording.notices:
        print(notice, file=sys.stderr)
    _say(args.out, summary)
    print(NO_BODY)
    return 0


def _say(out: Path, summary: dict[str, Any]) -> None:
    """A few lines on what was found."""
    events, steps, used = summary["events"], summary["steps"], summary["points_used"]
    points = "; ".join(f"{role.replace('_', ' ')}: {names}" for role, names in used.items())
    print(f"Points by the map {summary['points_map']}, {summary['world_up']} up. {points}.")
    print(f"{events['initial_contact']} initial and {events['final_contact']} final contacts, {steps['count']} steps in {summary['frames']} samples.")
    if "labels" in summary:
        for kind in ("initial_contact", "final_contact"):
            r = summary["labels"]["smoothed"][kind]
            matched = f"{r['matched']} matched" + (f", bias {r['bias_ms']:+.1f} ms, sd {r['sd_ms']:.1f} ms" if r["matched"] else "")
            print(f"Against the file's labels, {kind.replace('_', ' ')}: {matched}, {r['missed']} missed, {r['false']} false.")
    print(f"Written: {out} (report.html, gait_events.csv, steps.csv, summary.json; smoothed/ holds the same with the whole recording known)")
