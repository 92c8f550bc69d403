"""`biomech-fit fit` on 3D points: all frames of one person's .c3d and .trc files together, with one body."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from biomech_fit.cli.points_body import is_osim, wanted_points
from biomech_fit.cli.track_points import read_gait, say_summary, step_settings


def run_fit_points(args: argparse.Namespace, names: list[str]) -> int:
    """Fits the files and writes OUT, of several files a folder in it for each by its name. Raises InputError for options that need cameras, and for a file
    whose points are no body's."""
    from biomech_fit.config import FitConfig, load_config
    from biomech_fit.core.errors import InputError
    from biomech_fit.formats.atomic import write_text
    from biomech_fit.formats.folder import make_folder
    from biomech_fit.formats.model import load_body_model
    from biomech_fit.formats.points_recording import is_points_file, open_points
    from biomech_fit.formats.subject import read_subject, subject_from_estimate, write_subject
    from biomech_fit.offline.points_fit import PointsTake, fit_points
    from biomech_fit.report.fit_summary import visit_summary

    given = {
        "--calibration": args.calibration, "--no-refine-cameras": args.no_refine_cameras, "--frame-rate": args.frame_rate, "--meta": args.meta,
        "--scheduler": args.scheduler,
    }  # fmt: skip
    useless = [name for name, value in given.items() if value]
    if useless:
        raise InputError(f"{' and '.join(useless)} cannot be used with 3D points ({args.recordings[0].name}).")
    other = next((path for path in args.recordings if not is_points_file(path)), None)
    if other is not None:
        raise InputError(f"'{other}' has no 3D points; one fit takes either files of 3D points (.c3d, .trc) or recordings of calibrated cameras.")
    if is_osim(args.model):
        raise InputError("`fit` takes no OpenSim model for 3D points; `track` solves its own markers frame by frame.")
    recordings = [open_points(path, points_map=args.points_map, world_up=args.world_up, need_feet=False) for path in args.recordings]
    args.no_body = False
    found = [wanted_points(args, recording) for recording in recordings]
    lacking = next((recording.name for recording, points in zip(recordings, found, strict=True) if points is None), None)
    if lacking is not None:
        raise InputError(f"The points' names of '{lacking}' fit no keypoint set (--keypoint-set, --points-map); `track --no-body` reads its gait alone.")
    sets = sorted({points.keypoint_set.name for points in found})
    if len(sets) > 1:
        raise InputError(f"The recordings have different keypoint sets ({', '.join(sets)}); one body's trials must have one, see --keypoint-set.")
    config = load_config(args.config) if args.config else FitConfig()
    keypoint_set = found[0].keypoint_set
    body = load_body_model(args.model, keypoint_set)
    subject = read_subject(args.subject) if args.subject else None
    make_folder(args.out)
    takes = [PointsTake(name, r.frame_rate_hz, r.stamps_ns, p.xyz) for name, r, p in zip(names, recordings, found, strict=True)]
    fit = fit_points(takes, body, keypoint_set, config, subject, lambda text: print(text, file=sys.stderr, flush=True))
    model = subject_from_estimate(fit.subject, body, keypoint_set.name)
    summaries, notices = {}, []
    for name, recording, points, results in zip(names, recordings, found, fit.results, strict=True):
        folder = args.out if len(names) == 1 else args.out / name
        if not results:
            notices.append(f"No body could be placed on the points of '{recording.name}'; it is left out.")
            print(notices[-1], file=sys.stderr)
            continue
        summaries[name] = _write(args, folder, recording, points, results, fit, body, model, config)
    if len(names) > 1:
        write_subject(args.out / "subject.yaml", model)
        write_text(args.out / "summary.json", visit_summary({"seconds": fit.seconds, "trials": len(summaries)}, notices, summaries))
    print(f"Fitted in {fit.seconds['fit']:.1f} s after {fit.seconds['stream']:.1f} s for the start.")
    return 0


def _write(
    args: argparse.Namespace, folder: Path, recording: Any, points: Any, results: Any, fit: Any, body: Any, model: Any, config: Any
) -> dict[str, Any]:  # fmt: skip
    """One set of the files that `track` writes, and the summary among them; gait is read with the whole recording known."""
    from dataclasses import asdict

    import numpy as np

    from biomech_fit.config.version import version
    from biomech_fit.core.estimates import CalibrationEstimate
    from biomech_fit.core.gait import GaitSettings
    from biomech_fit.report.collect import Collector
    from biomech_fit.report.outputs import forget_earlier
    from biomech_fit.report.points_body import write_fitted_body
    from biomech_fit.report.points_report import PointsResult, write_points_outputs

    collector = Collector(body, [], points.keypoint_set, 0.0, GaitSettings(**asdict(config.gait)))
    collector.add(results)
    none, wall_s, report = np.zeros(0), sum(fit.seconds.values()), not args.no_report
    track = collector.result(
        CalibrationEstimate(results[-1].stamp_ns, (), (), (), np.zeros((0, 6, 6)), none, none, none, none),
        fit.subject,
        recording.frame_rate_hz,
        wall_s,
        source=recording.name,
        subject=fit.subject.name,
        version=version(),
        start_ns=0,
        subject_model=model,
        offline=True,
    )
    forget_earlier(folder, args.recordings)
    part = write_fitted_body(folder, track, points.xyz, points.used, recording, report, by="offline fit")
    gait = read_gait(recording, config)[1]
    settings = step_settings(config, args.skip_steps)
    summary = write_points_outputs(folder, PointsResult(recording, None, gait, wall_s, version(), settings, part), report=report)
    for notice in recording.notices:
        print(notice, file=sys.stderr)
    say_summary(folder, summary)
    return summary
