"""The offline fit of one person's 3D points: streamed once for a start, then all frames of all recordings together, with one body."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.estimates import SubjectEstimate
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.point_residuals import PointObservations
from biomech_fit.core.readout import Seen, pose_estimates
from biomech_fit.core.result import Readout
from biomech_fit.core.types import FrameResult, PointsPacket, Status
from biomech_fit.offline.rig import Rig
from biomech_fit.offline.solve import OfflineSolve
from biomech_fit.offline.trial import Trial, trial_of
from biomech_fit.stream.fitted_body import FittedBody, KnownBody
from biomech_fit.stream.noise import learned_noise
from biomech_fit.stream.noise_model import NoiseModel, noise_before
from biomech_fit.stream.points_pipeline import PointsPipeline
from biomech_fit.stream.slow_states import SlowEstimate

NOISE_ROUNDS = 2
"""How often the size of the points' errors is read from a solution, and the solution renewed."""


@dataclass(frozen=True, eq=False)
class PointsTake:
    """One recording of T frames."""

    name: str
    frame_rate_hz: float
    stamps_ns: np.ndarray
    """(T,) increasing."""
    xyz: np.ndarray
    """(T, K, 3) m, the keypoint set's; NaN = missing."""


@dataclass(frozen=True, eq=False)
class PointsFit:
    """The fit of one person's recordings."""

    results: list[list[FrameResult]]
    """By recording: the fit's pose as both causal and smoothed estimate; none where nobody was found."""
    subject: SubjectEstimate
    seconds: dict[str, float]
    """Wall time of the parts."""


def fit_points(
    takes: Sequence[PointsTake],
    body: BodyModel,
    keypoint_set: KeypointSet,
    config: FitConfig,
    subject: KnownBody | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> PointsFit:
    """Fit all recordings of one person. `say` is told how it goes. Raises InputError where no body can be placed in any of them."""
    clocks = [time.perf_counter()]
    rate = max(take.frame_rate_hz for take in takes)
    pipeline = PointsPipeline(body, keypoint_set, replace(config, stream=replace(config.stream, frame_rate_hz=rate)), subject)
    pipeline.compile()
    fitted, tracker = FittedBody(body, keypoint_set, config.track.min_start_keypoints), pipeline.tracker
    trials: dict[int, Trial] = {}
    for number, take in enumerate(takes):
        say(f"Streaming {take.name} ...")
        results: list[FrameResult] = []
        for stamp_ns, xyz in zip(take.stamps_ns.tolist(), take.xyz, strict=True):
            pipeline.feed_keypoints(PointsPacket(stamp_ns, xyz[None]))
            results += pipeline.poll()
        results += pipeline.flush()
        if pipeline.too_fast:
            say(f"'{take.name}': {pipeline.too_fast}")
        pipeline.reset()
        trial = trial_of(take.name, results, fitted.solved, fitted.mapped)
        if trial is not None:
            trials[number] = trial
    if not trials:
        raise InputError("No body could be placed on the points of any recording (units and axes right?).")
    clocks.append(time.perf_counter())
    points = [_points_of(takes[number], trial, fitted.mapped) for number, trial in trials.items()]
    noise, sigma_m = tracker.noise.model, config.points.sigma_m
    observed = [_observed(trial, xyz, noise, sigma_m) for trial, xyz in zip(trials.values(), points, strict=True)]
    rig = Rig([], observed, noise, rate, tracker.options.points)
    solve = OfflineSolve(fitted.solved, [rig], tracker.config, fitted.known(subject) if subject else None)
    solve.start_from([(tracker.layout, tracker.slow.mean)])
    for round_ in range(NOISE_ROUNDS + 1):
        cost = solve.solve(config.fit.iterations, config.fit.tolerance_rad)
        say(f"Round {round_ + 1}: cost {cost:.0f}")
        if round_ == NOISE_ROUNDS or not config.noise.learn or tracker.by_direction:
            break
        readouts = [readout for _, _, readout in solve.uncertainty()]
        rig.noise = _learned(tracker.config, fitted.solved.keypoint_names, points, readouts, observed) or rig.noise
        observed = [_observed(trial, xyz, rig.noise, sigma_m) for trial, xyz in zip(observed, points, strict=True)]
        solve.observe([observed])
    frames: list[list[FrameResult]] = [[] for _ in takes]
    numbers = list(trials)
    for _, t, readout in solve.uncertainty():
        frames[numbers[t]] = _frames(fitted, observed[t], readout)
    mean, covariance = solve.slow_of(0)
    known = bool(subject) and not tracker.config.refine.scales
    newest, count = max(int(trial.stamp_ns[-1]) for trial in observed), sum(len(trial.stamp_ns) for trial in observed)
    name = subject.name if subject else ""
    estimate = fitted.estimate(newest, name, SlowEstimate(mean, covariance), solve.states_of(0).layout, count, known)
    clocks.append(time.perf_counter())
    return PointsFit(frames, estimate, {"stream": clocks[1] - clocks[0], "fit": clocks[2] - clocks[1]})


def _points_of(take: PointsTake, trial: Trial, mapped: np.ndarray) -> np.ndarray:
    """(T, K solved, 3) m, of the trial's frames."""
    return take.xyz[np.searchsorted(take.stamps_ns, trial.stamp_ns)][:, mapped]


def _observed(trial: Trial, xyz: np.ndarray, noise: NoiseModel, sigma_m: float) -> Trial:
    """The trial with its points, as sure as they are thought to be."""
    there = np.isfinite(xyz).all(-1)
    std = noise.sigma_px(there[:, None].astype(float), sigma_m)[:, 0]
    return replace(trial, points=PointObservations(np.where(there[..., None], xyz, 0.0), np.where(there, std**-2, 0.0)))


def _learned(
    config: FitConfig, names: Sequence[str], points: Sequence[np.ndarray], readouts: Sequence[Readout], trials: Sequence[Trial]
) -> NoiseModel | None:
    errors = np.concatenate([xyz - np.asarray(readout.keypoints) for xyz, readout in zip(points, readouts, strict=True)])
    if config.points.drift_sigma_m > 0:
        errors = errors - np.nanmedian(errors, axis=1, keepdims=True)
    there = np.isfinite(errors).all(-1)
    stamps = np.concatenate([trial.stamp_ns for trial in trials])
    noise = replace(config.noise, pixel_sigma_px=config.points.sigma_m)
    before = noise_before(noise, 1, names)
    return learned_noise(noise, before, errors[:, None], there[:, None].astype(float), stamps)


def _frames(fitted: FittedBody, trial: Trial, readout: Readout) -> list[FrameResult]:
    assert trial.points is not None
    seen = []
    for t, stamp in enumerate(trial.stamp_ns.tolist()):
        status = Status(int(trial.status[t])) if np.any(trial.points.information[t] > 0) else Status.PREDICTED
        seen.append(Seen(stamp, status, trial.confidence[t], (), ()))
    estimates = pose_estimates(fitted.solved, fitted.mapped, readout, seen, [0.0] * len(seen))
    return [FrameResult(e.stamp_ns, e.status, e, e, np.nan) for e in estimates]
