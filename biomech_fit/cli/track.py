"""`biomech-fit track`: the streaming solver over a recording, frame by frame and causal, as fast as it goes."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from biomech_fit.cli.points_body import is_osim, print_approximations
from biomech_fit.cli.track_points import run_points, step_settings
from biomech_fit.formats.folder import make_folder


def add_parser(subparsers: Any) -> None:
    """Adds the sub-command."""
    parser = subparsers.add_parser(
        "track",
        help="fit the body to a recording, frame by frame",
        description="Runs the streaming solver over a recording (rosbag2 or Pose2Sim folder) and writes angles, keypoints, events, "
        "the refined calibration and a report. Of 3D points (.c3d, .trc) it writes angles, gait events and steps.",
    )
    kinds = "a rosbag2 (folder, .mcap or .db3), a Pose2Sim project or trial folder, or a .c3d or .trc of 3D points"
    parser.add_argument("recording", metavar="RECORDING", type=Path, help=kinds)
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help="folder for the results")
    add_input_options(parser)
    which = "for 3D points: which are heels, toes, pelvis and keypoints; a name or a YAML (default: by their names)"
    parser.add_argument("--points-map", metavar="MAP", help=which)
    parser.add_argument("--no-body", action="store_true", help="for 3D points: read the gait alone, fit no body")
    parser.add_argument("--ik-tasks", metavar="T.xml", type=Path, help="for 3D points with --model M.osim: OpenSim's task set with the markers' weights")
    up = "axis of the calibration's, or the points', world that points up (default: as the first person stands, else z; 3D points: as the file says)"
    parser.add_argument("--world-up", choices=("x", "-x", "y", "-y", "z", "-z"), help=up)
    parser.add_argument("--skip-steps", metavar="N", type=int, help="leave the first N steps of each walk out of the means (default: steps.skip_steps)")
    parser.add_argument("--no-report", action="store_true", help="leave out report.html and the pictures")
    parser.set_defaults(run=run)


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what is fitted and how."""
    parser.add_argument("--subject", metavar="S.yaml", type=Path, help="a known body: subject.yaml of an earlier run, e.g. of a static trial")
    parser.add_argument("--model", metavar="M", help="body model: a name, a YAML, an MJCF with its YAML or an OpenSim model (default: the built-in body)")
    parser.add_argument("--calibration", metavar="C", type=Path, help="calibration file or folder (default: found with the recording)")
    parser.add_argument("--no-refine-cameras", action="store_true", help="take the calibration as it is")
    parser.add_argument("--config", metavar="F.yaml", type=Path, help="settings (docs/parameters.md)")
    parser.add_argument("--frame-rate", metavar="HZ", type=float, help="frame rate of a recording that does not say it")
    parser.add_argument("--keypoint-set", metavar="SET", help="keypoint set, by name or YAML (default: what the recording says)")


def run(args: argparse.Namespace) -> int:
    """Tracks and writes OUT."""
    from biomech_fit.formats.points_recording import is_points_file

    if is_points_file(args.recording):
        return run_points(args)
    from tqdm import tqdm

    from biomech_fit.cli.doubts import doubts
    from biomech_fit.config import FitConfig, load_config
    from biomech_fit.config.version import version
    from biomech_fit.core.errors import InputError
    from biomech_fit.core.gait import GaitSettings
    from biomech_fit.formats.model import load_body_model
    from biomech_fit.formats.recording import open_recording
    from biomech_fit.formats.subject import read_subject, subject_from_estimate
    from biomech_fit.formats.world_up import chosen_up, upright_camera
    from biomech_fit.report.collect import Collector
    from biomech_fit.report.outputs import write_outputs
    from biomech_fit.stream.pipeline import FitPipeline

    for option, value in (("--points-map", args.points_map), ("--no-body", args.no_body), ("--ik-tasks", args.ik_tasks)):
        if value:
            raise InputError(f"{option} is for files of 3D points (.c3d, .trc); '{args.recording}' is none.")
    recording = open_recording(args.recording, calibration=args.calibration, keypoint_set=args.keypoint_set, frame_rate=args.frame_rate)
    config = load_config(args.config) if args.config else FitConfig()
    config = replace(config, stream=replace(config.stream, frame_rate_hz=recording.frame_rate_hz))
    if args.no_refine_cameras:
        config = replace(config, refine=replace(config.refine, cameras=False))
    body = load_body_model(args.model, recording.keypoint_set)
    if is_osim(args.model):
        print_approximations(args.model)
    subject = read_subject(args.subject) if args.subject else None
    world_up, stands = chosen_up(args.world_up, recording.cameras, recording.keypoint_set.names, recording.packets())
    cameras = [upright_camera(camera, world_up) for camera in recording.cameras]
    pipeline = FitPipeline(body, cameras, recording.keypoint_set, config, subject)
    if len(cameras) < 2:
        raise InputError(f"'{args.recording}' has keypoints of one camera only, '{cameras[0].name}'; at least two calibrated cameras are needed.")
    gait, steps = GaitSettings(**asdict(config.gait)), step_settings(config, args.skip_steps)
    make_folder(args.out)
    quiet = not sys.stderr.isatty()
    print(f"Compiling for {len(cameras)} cameras, {len(recording.keypoint_set)} keypoints ...", file=sys.stderr)
    pipeline.compile()
    people = range(1, config.stream.max_people + 1)
    collectors = {n: Collector(body, cameras, recording.keypoint_set, config.window.lag_s, gait, n) for n in people}
    began = time.perf_counter()
    with tqdm(total=recording.frame_count, unit="frame", disable=quiet) as progress:
        for packet in recording.packets():
            pipeline.feed_keypoints(packet)
            results = pipeline.poll()
            for collector in collectors.values():
                collector.add(results)
            progress.update(sum(result.person == 1 for result in results))
        rest = pipeline.flush()
        for collector in collectors.values():
            collector.add(rest)
    wall_s = time.perf_counter() - began
    estimates = {n: estimate for n in people if (estimate := pipeline.subject(n)).frames}
    if not estimates:
        raise InputError(f"No person could be tracked in '{args.recording}': {_why(pipeline)}")
    partly = subject.notice(recording.keypoint_set.name) if subject else None
    first = min(estimates)
    odd = doubts(pipeline.calibration(), estimates[first], collectors[first].frames, config.refine)
    notices = [*recording.notices, *(notice for notice in (partly, stands, pipeline.too_fast) if notice), *odd]
    for notice in notices:
        print(notice, file=sys.stderr)
    _remove_people(args.out)
    start_ns = collectors[1].start_ns
    for n, estimate in estimates.items():
        result = collectors[n].result(
            pipeline.calibration(),
            estimate,
            recording.frame_rate_hz,
            wall_s,
            notices=notices,
            source=args.recording.name,
            subject=estimate.name,
            version=version(),
            start_ns=start_ns,
            calibration=recording.calibration,
            subject_model=subject_from_estimate(estimate, body, recording.keypoint_set.name),
            world_up=world_up,
            step_settings=steps,
        )
        if n == first:
            write_outputs(args.out, result, report=not args.no_report)
            _say(args.out, result, pipeline.compiled_s, not args.no_report)
        if len(people) > 1:
            write_outputs(args.out / "people" / f"person_{n}", result, report=not args.no_report and n != first)
    if len(people) > 1:
        print(f"People: {', '.join(f'{n} ({estimate.frames} frames)' for n, estimate in estimates.items())}; each in {args.out / 'people'}/person_<number>.")
    return 0


def _remove_people(out: Path) -> None:
    """Results of an earlier run's people must not be taken for this run's."""
    for folder in (out / "people").glob("person_[1-9]"):
        if (folder / "summary.json").is_file():
            shutil.rmtree(folder)


def _why(pipeline: Any) -> str:
    return next(sentence for _, name, sentence, _ in pipeline.diagnostics() if name == "track")


def _say(out: Path, result: Any, compiled_s: float, report: bool) -> None:
    """A few lines on how it went."""
    from biomech_fit.report.figures import summarise

    summary = summarise(result)
    pixels = summary["reprojection_px"]
    fitted = summary["status"].get("OK", 0) + summary["status"].get("REINITIALISED", 0)
    pace = f"{summary['realtime_factor']:.1f} x real time; compiled in {compiled_s:.1f} s"
    print(f"Tracked {fitted} of {summary['frames']} frames in {result.wall_s:.1f} s ({pace}).")
    print(f"Reprojection: median {pixels['median']:.1f} px (loaded calibration {pixels['median_before']:.1f}), GC_10 {pixels['gc10']:.2f}.")
    files = f"{'report.html, ' if report else ''}joint_angles.mot, keypoints.trc, summary.json"
    print(f"Written: {out} ({files} ...; smoothed/ holds the same at a fixed lag)")
