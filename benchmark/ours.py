"""biomech_fit in the benchmark: the streaming pipeline over the recordings of one person, in process and packet by packet."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from output import Output
from recordings import RATE_HZ, Recording, Session, fingerprint
from walks import FLEXIONS

from biomech_fit.config.fit import FitConfig
from biomech_fit.config.load import from_mapping, validate
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import FrameResult, PoseEstimate
from biomech_fit.formats.model import load_body_model
from biomech_fit.formats.subject import Subject, subject_from_estimate
from biomech_fit.offline.fit import OfflineRecording, fit_person
from biomech_fit.stream.pipeline import FitPipeline


def track(session: Session, keypoint_set: KeypointSet, refine: bool, settings: dict[str, Any], known: bool) -> dict[str, Output]:
    """Causal and smoothed result of the walk; `known`: the body comes from the same person's standing trial.

    Cameras start as handed out in both trials: only the subject is carried over. settings: `FitConfig` entries by dotted name.
    """
    config = from_mapping({"stream.frame_rate_hz": RATE_HZ} | settings, FitConfig())
    if not refine:
        config = replace(config, refine=replace(config.refine, cameras=False))
    validate(config)
    body = body_for(keypoint_set.name, keypoint_set)
    subject: Subject | None = None
    if known:
        subject = _standing(session.static, body, keypoint_set, config)
    pipeline, results, seconds, cpu_seconds = run_pipeline(session.walk, body, keypoint_set, config, subject)
    cameras, frames = list(pipeline.calibration().cameras), len(session.walk.frames)
    ms = (1e3 * seconds / frames, 1e3 * cpu_seconds / frames)
    estimates = {"causal": [r.causal for r in results], "smoothed": [r.smoothed for r in results]}
    return {name: _output(some, session.walk, body, cameras, ms) for name, some in estimates.items()}


_subjects: dict[tuple[str, str, FitConfig], Subject] = {}
"""By keypoint set, recording and settings: many conditions have the same standing trial."""


def _standing(recording: Recording, body: BodyModel, keypoint_set: KeypointSet, config: FitConfig) -> Subject:
    """The body as the pipeline finds it from a standing trial."""
    key = (keypoint_set.name, fingerprint(recording), config)
    if key not in _subjects:
        pipeline = run_pipeline(recording, body, keypoint_set, config, None)[0]
        _subjects[key] = subject_from_estimate(pipeline.subject(), body, keypoint_set.name)
    return _subjects[key]


@lru_cache(maxsize=1)
def body_for(name: str, keypoint_set: KeypointSet) -> BodyModel:
    """One object for all walks: compiled solvers are shared by body."""
    return load_body_model(None, keypoint_set)


def run_pipeline(
    recording: Recording, body: BodyModel, keypoint_set: KeypointSet, config: FitConfig, subject: Subject | None
) -> tuple[FitPipeline, list[FrameResult], float, float]:
    """The pipeline after the recording, its results, and the seconds that feeding and fitting took, by the clock and on the cores."""
    pipeline = FitPipeline(body, recording.given, keypoint_set, config, subject)
    pipeline.compile()
    results: list[FrameResult] = []
    began, cpu_began = time.perf_counter(), time.process_time()
    for packets in recording.frames:
        for packet in packets:
            pipeline.feed_keypoints(packet)
        results += pipeline.poll()
    results += pipeline.flush()
    return pipeline, results, time.perf_counter() - began, time.process_time() - cpu_began


def _output(estimates: list[PoseEstimate | None], recording: Recording, body: BodyModel, cameras: list[Camera], ms: tuple[float, float]) -> Output:
    frames, k = recording.points.shape[:2]
    points, point_std = np.full((frames, k, 3), np.nan), np.full((frames, k, 3), np.nan)
    angles, angle_std = np.full((frames, len(FLEXIONS)), np.nan), np.full((frames, len(FLEXIONS)), np.nan)
    columns = [body.coordinate_names.index(name) for name in FLEXIONS]
    for estimate in estimates:
        if estimate is None:
            continue
        t = int(np.argmin(np.abs(recording.stamp_ns - estimate.stamp_ns)))
        points[t], point_std[t] = estimate.keypoints, estimate.keypoint_std
        angles[t], angle_std[t] = np.rad2deg(estimate.position[columns]), np.rad2deg(estimate.position_std[columns])
    return Output(points, angles, *ms, cameras, point_std, angle_std)


def fit(session: Session, keypoint_set: KeypointSet, refine: bool, settings: dict[str, Any], both: bool) -> dict[str, Output]:
    """The offline fit of the walk; `both`: together with the standing trial, with one body and one rig."""
    config = from_mapping({"stream.frame_rate_hz": RATE_HZ, "fit.two_stage": False} | settings, FitConfig())
    if not refine:
        config = replace(config, refine=replace(config.refine, cameras=False))
    validate(config)
    body = body_for(keypoint_set.name, keypoint_set)
    named = [("static", session.static), ("walk", session.walk)] if both else [("walk", session.walk)]
    recordings = [
        OfflineRecording(name, list(recording.given), RATE_HZ, lambda recording=recording: (p for packets in recording.frames for p in packets))
        for name, recording in named
    ]
    began, cpu_began = time.perf_counter(), time.process_time()
    person = fit_person(recordings, body, keypoint_set, config)
    frames = sum(len(recording.frames) for _, recording in named)
    ms = 1e3 * (time.perf_counter() - began) / frames, 1e3 * (time.process_time() - cpu_began) / frames
    walk = person.trials[-1]
    return {"fit": _output([r.smoothed for r in walk.results], session.walk, body, list(walk.calibration.cameras), ms)}
