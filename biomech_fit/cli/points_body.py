"""`biomech-fit track` on 3D points: the body, by the streaming solver, or with an OpenSim model by inverse kinematics of its own markers."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, replace
from typing import Any


def is_osim(model: str | None) -> bool:
    """Whether `--model` names an OpenSim model."""
    return model is not None and model.lower().endswith(".osim")


def wanted_points(args: argparse.Namespace, recording: Any) -> Any:
    """The recording's points as keypoints of a set; None where they are no body's, unless a set, model or subject was asked for."""
    from biomech_fit.core.errors import InputError
    from biomech_fit.formats.points_keypoints import find_points

    if args.no_body:
        return None
    found = find_points(recording.points, recording.name, args.keypoint_set, recording.mapping)
    asked = next((option for option, value in (("--model", args.model), ("--subject", args.subject)) if value), None)
    if found is None and asked:
        raise InputError(f"{asked} cannot be used with '{recording.name}': its points' names fit no keypoint set (--keypoint-set, --points-map).")
    recording.notices.extend(found.notices if found is not None else ())
    return found


def fit_body(args: argparse.Namespace, recording: Any, found: Any, config: Any) -> Any:
    """Runs the streaming solver over the points. Raises InputError where no body can be placed on them."""
    from tqdm import tqdm

    from biomech_fit.config.version import version
    from biomech_fit.core.errors import InputError
    from biomech_fit.core.gait import GaitSettings
    from biomech_fit.core.types import PointsPacket
    from biomech_fit.formats.model import load_body_model
    from biomech_fit.formats.subject import read_subject, subject_from_estimate
    from biomech_fit.report.collect import Collector
    from biomech_fit.stream.points_pipeline import PointsPipeline

    config = replace(config, stream=replace(config.stream, frame_rate_hz=recording.frame_rate_hz))
    body = load_body_model(args.model, found.keypoint_set)
    subject = read_subject(args.subject) if args.subject else None
    pipeline = PointsPipeline(body, found.keypoint_set, config, subject)
    print(f"Compiling for {len(found.used)} points of {found.keypoint_set.name} ...", file=sys.stderr)
    pipeline.compile()
    collector = Collector(body, [], found.keypoint_set, config.window.lag_s, GaitSettings(**asdict(config.gait)))
    began = time.perf_counter()
    for stamp_ns, xyz in tqdm(zip(recording.stamps_ns.tolist(), found.xyz, strict=True), total=len(found.xyz), unit="frame", disable=not sys.stderr.isatty()):
        pipeline.feed_keypoints(PointsPacket(stamp_ns, xyz[None]))
        collector.add(pipeline.poll())
    collector.add(pipeline.flush())
    wall_s, estimate = time.perf_counter() - began, pipeline.subject()
    if not estimate.frames:
        raise InputError(f"No body could be placed on the points of '{recording.name}' (units and axes right? --no-body reads the gait alone).")
    if pipeline.too_fast:
        recording.notices.append(pipeline.too_fast)
    if subject is not None and (partly := subject.notice(found.keypoint_set.name)):
        recording.notices.append(partly)
    return collector.result(
        pipeline.calibration(),
        estimate,
        recording.frame_rate_hz,
        wall_s,
        source=recording.name,
        subject=estimate.name,
        version=version(),
        start_ns=0,
        subject_model=subject_from_estimate(estimate, body, found.keypoint_set.name),
    )


def solve_markers(args: argparse.Namespace, recording: Any) -> Any:
    """Inverse kinematics with the OpenSim model's own markers. Raises InputError for a model that cannot be read, or without a marker of the recording's."""
    from biomech_fit.core.errors import InputError
    from biomech_fit.core.marker_ik import MarkerIk
    from biomech_fit.core.opensim_axes import WORLD_FROM_OPENSIM
    from biomech_fit.formats.ik_tasks import read_ik_tasks
    from biomech_fit.formats.osim import read_osim
    from biomech_fit.report.points_body import MarkerSolution

    useless = [n for n, value in {"--subject": args.subject, "--keypoint-set": args.keypoint_set}.items() if value]
    if useless:
        raise InputError(f"{' and '.join(useless)} cannot be used with an OpenSim model and 3D points: its own markers, and its own size, are taken.")
    model = read_osim(args.model)
    names = _plain_names(recording.points, model.linkage.marker_names)
    tasks = read_ik_tasks(args.ik_tasks, model.linkage) if args.ik_tasks else None
    ik = MarkerIk(model.linkage, names, *((tasks.marker_weights, tasks.goals) if tasks else ()))
    began = time.perf_counter()
    solution = ik.solve(recording.points.points @ WORLD_FROM_OPENSIM)
    wall_s = time.perf_counter() - began
    linkage = model.linkage
    # Frames without a marker have no coordinates; anything finite does for them.
    full = linkage.complete(_finite(solution.coordinates, linkage.default))
    placed = linkage.marker_rows(linkage.poses(full, twists=False), ik.markers)
    markers = placed.transpose(2, 1, 0) @ WORLD_FROM_OPENSIM.T
    is_angle = [c.is_angle for c in linkage.coordinates]
    measured = recording.points.points[:, ik.columns]
    return MarkerSolution(args.model, linkage.coordinate_names, is_angle, solution, ik.names, markers, measured, wall_s)


def print_approximations(model: str) -> None:
    """What an OpenSim model loses where it is turned into hinges and slides for the streaming solver."""
    from biomech_fit.formats.osim import read_osim
    from biomech_fit.formats.osim_to_mjcf import convert

    converted = convert(read_osim(model))
    for a in converted.approximations:
        print(f"{model}: joint {a.joint} became one hinge for {a.coordinate}, which moves what hangs on it by {a.rms_mm:.1f} mm RMS, {a.max_mm:.1f} mm at most")
    if converted.left_out:
        print(f"{model}: without markers and driven by other joints, left out: {', '.join(converted.left_out)}.")


def _finite(coordinates: Any, default: Any) -> Any:
    import numpy as np

    return np.where(np.isfinite(coordinates), coordinates, default)


def _plain_names(points: Any, markers: Any) -> list[str]:
    """The points' names as the model writes its markers: without the subject in front ("Ann:RASI"), and in the model's case."""
    known = {m.lower(): m for m in markers}
    out: list[str] = []
    for name in points.names:
        plain = known.get(name.lower()) or known.get(name.rpartition(":")[2].lower())
        out.append(plain if plain is not None and plain not in out else name)
    return out
