"""`biomech-fit fit`: the offline end-to-end fit of one person's recordings, all frames together."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from biomech_fit.cli.track import add_input_options
from biomech_fit.cli.track_points import step_settings
from biomech_fit.formats.folder import make_folder


def add_parser(subparsers: Any) -> None:
    """Adds the sub-command."""
    parser = subparsers.add_parser(
        "fit",
        help="fit the body to whole recordings at once (offline, the best answer)",
        description="Fits one person's recordings end to end: every recording its own motion, one body for all, and the cameras' corrections where they "
        "predict left-out detections better. Starts from what `track` finds. With --meta: many people, and a base model learned from all of them.",
    )
    kinds = (
        "a rosbag2 (folder, .mcap or .db3), a Pose2Sim project or trial folder, or a .c3d or .trc of 3D points; several are trials of one person. "
        "With --meta each is a person: "
        "one recording, or a folder of that person's recordings"
    )
    parser.add_argument("recordings", metavar="RECORDING", type=Path, nargs="+", help=kinds)
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help="folder for the results; several recordings have their own in it")
    add_input_options(parser)
    which = "for 3D points: which are heels, toes, pelvis and keypoints; a name or a YAML (default: by their names)"
    parser.add_argument("--points-map", metavar="MAP", help=which)
    up = "axis of the calibration's, or the points', world that points up (default: as the person stands, or as the file says, else z; a .trc's y)"
    parser.add_argument("--world-up", choices=("x", "-x", "y", "-y", "z", "-z"), help=up)
    parser.add_argument("--skip-steps", metavar="N", type=int, help="leave the first N steps of each walk out of the means (default: steps.skip_steps)")
    parser.add_argument("--no-report", action="store_true", help="leave out report.html and the pictures")
    parser.add_argument("--meta", action="store_true", help="several people: learn a base model (OUT/base_model.yaml, for --subject) from their fits")
    parser.add_argument("--workers", metavar="N", type=int, default=2, help="with --meta: processes on this machine (default: 2)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="with --meta: a dask scheduler whose workers fit, e.g. tcp://10.0.0.5:8786")


def run(args: argparse.Namespace) -> int:
    """Fits and writes OUT."""
    from biomech_fit.core.errors import InputError
    from biomech_fit.formats.points_recording import is_points_file

    if any(is_points_file(path) for path in args.recordings):
        from biomech_fit.cli.fit_points import run_fit_points

        return run_fit_points(args, _names(args.recordings))
    if args.points_map:
        raise InputError("--points-map is for files of 3D points (.c3d, .trc); there is none.")
    if args.meta:
        from biomech_fit.cli.fit_meta import run_meta

        if args.workers < 1:
            raise InputError(f"--workers is {args.workers}; it must be at least 1.")
        return run_meta(args)
    if args.scheduler:
        raise InputError("--scheduler is for --meta, where many people are fitted.")
    fit_and_write(args, args.recordings, args.out, lambda text: print(text, file=sys.stderr, flush=True))
    return 0


def fit_and_write(args: argparse.Namespace, paths: list[Path], out: Path, say: Callable[[str], None]) -> tuple[Any, Any]:
    """Fit one person's recordings and write the results; returns the fit and the body model. `args` has the options that `add_parser` declares."""
    from biomech_fit.config import FitConfig, load_config
    from biomech_fit.core.errors import InputError
    from biomech_fit.formats.model import load_body_model
    from biomech_fit.formats.recording import open_recording
    from biomech_fit.formats.subject import read_subject
    from biomech_fit.formats.world_up import chosen_up, upright_camera
    from biomech_fit.offline.fit import OfflineRecording, fit_person

    names = _names(paths)
    opened = [open_recording(path, calibration=args.calibration, keypoint_set=args.keypoint_set, frame_rate=args.frame_rate) for path in paths]
    sets = sorted({recording.keypoint_set.name for recording in opened})
    if len(sets) > 1:
        raise InputError(f"The recordings have different keypoint sets ({', '.join(sets)}); one body's trials must have one, see --keypoint-set.")
    for path, recording in zip(paths, opened, strict=True):
        if len(recording.cameras) < 2:
            raise InputError(f"'{path}' has keypoints of one camera only, '{recording.cameras[0].name}'; at least two calibrated cameras are needed.")
    config = load_config(args.config) if args.config else FitConfig()
    if args.no_refine_cameras:
        config = replace(config, refine=replace(config.refine, cameras=False))
    if args.no_report:
        config = replace(config, fit=replace(config.fit, two_stage=False))
    keypoint_set = opened[0].keypoint_set
    body = load_body_model(args.model, keypoint_set)
    subject = read_subject(args.subject) if args.subject else None
    make_folder(out)
    world_up, stands = chosen_up(args.world_up, opened[0].cameras, keypoint_set.names, opened[0].packets())
    recordings = [
        OfflineRecording(name, [upright_camera(camera, world_up) for camera in recording.cameras], recording.frame_rate_hz, recording.packets)
        for name, recording in zip(names, opened, strict=True)
    ]
    person = fit_person(recordings, body, keypoint_set, config, subject, say)
    partly = subject.notice(keypoint_set.name) if subject else None
    notices = [notice for notice in (partly, stands) if notice]
    for notice in [*person.notices, *notices]:
        say(notice)
    _write(args, out, person, dict(zip(names, opened, strict=True)), body, keypoint_set, config, notices, world_up, say)
    return person, body


def _write(
    args: argparse.Namespace, folder: Path, person: Any, opened: dict[str, Any], body: Any, keypoint_set: Any, config: Any, notices: list[str],
    world_up: str, say: Callable[[str], None],
) -> None:  # fmt: skip
    from biomech_fit.cli.doubts import doubts
    from biomech_fit.config.version import version
    from biomech_fit.core.gait import GaitSettings
    from biomech_fit.formats.atomic import write_text
    from biomech_fit.formats.subject import subject_from_estimate, write_subject
    from biomech_fit.report.collect import Collector
    from biomech_fit.report.figures import summarise
    from biomech_fit.report.fit_summary import comparison_of, fit_figures, visit_summary
    from biomech_fit.report.outputs import write_outputs

    model, steps = subject_from_estimate(person.subject, body, keypoint_set.name), step_settings(config, args.skip_steps)
    summaries = {}
    for trial in person.trials:
        name = trial.recording.name
        recording = opened[name]
        collector = Collector(body, trial.calibration.loaded, keypoint_set, 0.0, GaitSettings(**asdict(config.gait)))
        collector.add(trial.results)
        odd = doubts(trial.calibration, person.subject, trial.results, config.refine)
        for notice in odd:
            say(f"{name}: {notice}")
        result = collector.result(
            trial.calibration,
            person.subject,
            recording.frame_rate_hz,
            sum(person.seconds.values()),
            notices=[*recording.notices, *notices, *odd],
            source=name,
            subject=person.subject.name,
            version=version(),
            calibration=recording.calibration,
            subject_model=model,
            world_up=world_up,
            step_settings=steps,
            offline=True,
        )
        result.extra["fit"] = fit_figures(person)
        result.comparison = comparison_of(result, trial.two_stage)
        write_outputs(folder if len(opened) == 1 else folder / name, result, report=not args.no_report)
        summaries[name] = summarise(result)
        pixels = summaries[name]["reprojection_px"]
        before = f"median {pixels['median']:.1f} px (loaded calibration {pixels['median_before']:.1f}), GC_10 {pixels['gc10']:.2f}"
        say(f"{name}: {len(trial.results)} frames; reprojection: {before}.")
    if len(opened) > 1:
        write_subject(folder / "subject.yaml", model)
        write_text(folder / "summary.json", visit_summary(fit_figures(person), person.notices, summaries))
    say(f"Fitted in {person.seconds['fit']:.1f} s after {person.seconds['stream']:.1f} s for the start. Written: {folder}")


def _names(paths: list[Path]) -> list[str]:
    """A name for each recording: its file's or folder's, made different where two are alike."""
    names: list[str] = []
    for path in paths:
        own = path.resolve().stem if path.is_file() else path.resolve().name
        names.append(next(name for name in chain([own], (f"{own}_{k}" for k in count(2))) if name not in names))
    return names
