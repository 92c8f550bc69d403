"""The whole offline fit of one person: stream once for a start, then all frames of all recordings together, with or without the cameras' corrections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.estimates import CalibrationEstimate, CameraFit, SubjectEstimate
from biomech_fit.core.gauge import Placement
from biomech_fit.core.keypoint_noise import KeypointNoise
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.readout import Seen, pose_estimates
from biomech_fit.core.result import Readout
from biomech_fit.core.types import FrameResult, KeypointPacket, Status
from biomech_fit.core.window import SlowLayout
from biomech_fit.offline.base_model import FIRMNESS, Evidence, Spread, evidence
from biomech_fit.offline.held_out import HeldOut, judge_cameras, left_out
from biomech_fit.offline.network import NetworkTrajectories
from biomech_fit.offline.rig import Rig
from biomech_fit.offline.solve import OfflineSolve
from biomech_fit.offline.trial import Trial, trial_of
from biomech_fit.offline.two_stage import InverseKinematics, TwoStage, two_stage
from biomech_fit.stream.camera_estimate import camera_uncertainty
from biomech_fit.stream.fitted_body import FittedBody, KnownBody
from biomech_fit.stream.noise import learned_noise
from biomech_fit.stream.noise_model import noise_before
from biomech_fit.stream.pipeline import FitPipeline
from biomech_fit.stream.slow_states import BodyPrior, SlowEstimate

SPREAD_ROUNDS = 3
"""How often the spread of the calibration's errors and the detector's noise are read from a solution, and the solution renewed."""

BODY_DOUBT = FIRMNESS
"""By this what the data say of scales and offsets counts less. Joints that sit 3 mm per axis from where the scaled model has them move the body by 2.8 of its
standard deviations (RMS, simulated people), alike in all frames, which no residual shows. A base model's prior was made firmer for the same reason."""


@dataclass(frozen=True, eq=False)
class OfflineRecording:
    """One recording of the person."""

    name: str
    cameras: list[Camera]
    frame_rate_hz: float
    packets: Callable[[], Iterable[KeypointPacket]]


@dataclass(frozen=True, eq=False)
class TrialFit:
    """What the fit says of one recording."""

    recording: OfflineRecording
    results: list[FrameResult]
    """The fit's pose as both causal and smoothed estimate, so that everything that reads a stream's results reads these."""
    streamed: list[FrameResult]
    """What the streaming fit said, from which this one started."""
    calibration: CalibrationEstimate
    placement: Placement | None
    """How surely the rig as a whole stands in the world, a part of all covariances of places; None = surely."""
    two_stage: TwoStage | None
    """What two stages make of the same detections, of the whole keypoint set; None = not asked for."""


@dataclass(frozen=True, eq=False)
class PersonFit:
    """The fit of one person's recordings."""

    trials: list[TrialFit]
    subject: SubjectEstimate
    held_out: HeldOut | None
    """None where the cameras are not to be corrected."""
    seconds: dict[str, float]
    """Wall time of the parts."""
    notices: list[str]
    evidence: Evidence
    """What the data alone say of scales and offsets, of the keypoints that the body has."""
    prior: Spread
    """What was known of them before."""
    keypoint_set: str
    keypoint_names: tuple[str, ...]
    """Of the offsets."""
    noise: list[KeypointNoise]
    """What the residuals say of the detector, rig by rig."""


def fit_person(
    recordings: Sequence[OfflineRecording],
    body: BodyModel,
    keypoint_set: KeypointSet,
    config: FitConfig,
    subject: KnownBody | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> PersonFit:
    """Fit all recordings of one person. `say` is told how it goes.

    Raises InputError where no person is found in any recording.
    """
    fitted = FittedBody(body, keypoint_set, config.track.min_start_keypoints)
    clocks = {"stream": time.perf_counter()}
    rigs, streamed, start, notices = _stream(recordings, body, keypoint_set, fitted, config, subject, say)
    clocks["solve"] = time.perf_counter()
    solve = OfflineSolve(fitted.solved, rigs, config, _known(fitted, subject) if subject else None, BODY_DOUBT)
    solve.start_from(start)
    held_out, predicted = judge_cameras(solve, config, say) if config.refine.cameras else (None, None)
    if held_out is not None:
        solve.free_cameras(held_out.accepted, held_out.lenses_accepted)
    known_noise = subject.keypoint_noise(keypoint_set.name) if subject else None
    _converge(solve, _trajectory(solve, config, say), config, known_noise, say)
    readouts = {(r, t): readout for r, t, readout in solve.uncertainty()}
    clocks["two_stage"] = time.perf_counter()
    compared = _two_stages(solve, fitted, predicted) if config.fit.two_stage else {}
    clocks["end"] = time.perf_counter()
    trials = []
    for r, rig in enumerate(rigs):
        calibration = _calibration(solve, r, held_out is not None and held_out.accepted, config)
        for t, (trial, (recording, results)) in enumerate(zip(rig.trials, streamed[r], strict=True)):
            frames = _frames(solve, fitted, r, trial, readouts[r, t])
            trials.append(TrialFit(recording, frames, results, calibration, solve.states_of(r).placement, compared.get((r, t))))
    mean, covariance = solve.slow_of(0)
    frames = sum(len(trial.stamp_ns) for rig in rigs for trial in rig.trials)
    name, fixed = (subject.name, not config.refine.scales) if subject else ("", False)
    newest = max(int(trial.stamp_ns[-1]) for rig in rigs for trial in rig.trials)
    estimate = fitted.estimate(newest, name, SlowEstimate(mean, covariance), solve.states_of(0).layout, frames, fixed)
    seconds = {"stream": clocks["solve"] - clocks["stream"], "fit": clocks["two_stage"] - clocks["solve"], "two_stage": clocks["end"] - clocks["two_stage"]}
    trials.sort(key=lambda fit: recordings.index(fit.recording))
    own = solve.states_of(0).layout.offsets.stop
    before = solve.states_of(0).prior
    prior = Spread(before.mean[:own], np.linalg.inv(before.precision[:own, :own]))
    # As it is without doubt: `learn_base` has its own.
    firm = Spread(prior.mean, prior.covariance / BODY_DOUBT)
    told = evidence(mean[:own], covariance[:own, :own] / BODY_DOUBT, firm)
    noise = [_detector(rig, fitted.solved.keypoint_names, config) for rig in rigs]
    return PersonFit(trials, estimate, held_out, seconds, notices, told, prior, keypoint_set.name, fitted.solved.keypoint_names, noise)


# --- the start ------------------------------------------------------------------------------------------------------------------------------------------


def _stream(
    recordings: Sequence[OfflineRecording],
    body: BodyModel,
    keypoint_set: KeypointSet,
    fitted: FittedBody,
    config: FitConfig,
    subject: KnownBody | None,
    say: Callable[[str], None],
) -> tuple[list[Rig], list[list[tuple[OfflineRecording, list[FrameResult]]]], list[tuple[SlowLayout, np.ndarray]], list[str]]:
    """The streaming fit of every recording: the rigs with their trials, what was streamed of each, the slow states that it ended with, and notices."""
    rigs: list[Rig] = []
    streamed: list[list[tuple[OfflineRecording, list[FrameResult]]]] = []
    start: list[tuple[SlowLayout, np.ndarray]] = []
    notices: list[str] = []
    for cameras, group in _by_rig(recordings):
        rate = max(recording.frame_rate_hz for recording in group)
        own = replace(config, stream=replace(config.stream, frame_rate_hz=rate, max_people=1))
        pipeline = FitPipeline(body, cameras, keypoint_set, own, subject)
        pipeline.compile()
        trials, kept = [], []
        for recording in group:
            say(f"Streaming {recording.name} ...")
            results: list[FrameResult] = []
            for packet in recording.packets():
                pipeline.feed_keypoints(packet)
                results += pipeline.poll()
            results += pipeline.flush()
            begun = pipeline.cameras_begun()
            notices += [f"'{recording.name}': {pipeline.too_fast}"] if pipeline.too_fast else []
            pipeline.reset()
            # A camera has one pose and one clock: those that it was found to have in the end.
            trials = [earlier.without_earlier(dict.fromkeys(begun, np.inf)) for earlier in trials]
            trial = trial_of(recording.name, results, fitted.solved, fitted.mapped)
            if trial is None:
                notices.append(f"Nobody was found in '{recording.name}'; it is left out.")
                continue
            trials.append(trial.without_earlier(begun))
            kept.append((recording, results))
        if trials:
            standing = pipeline.tracker.cameras
            fits = pipeline.cameras_found()
            rigs.append(Rig(cameras, trials, pipeline.tracker.noise.model, rate, found={c: standing[c] for c in fits}, fits=fits))
            streamed.append(kept)
            start.append((pipeline.tracker.layout, pipeline.tracker.slow.mean))
    if not rigs:
        raise InputError("No person was found in any of the recordings.")
    return rigs, streamed, start, notices


def _known(fitted: FittedBody, subject: KnownBody) -> BodyPrior:
    """A known body or base model. A base model's prior is firmer than people differ, for fits that are over-sure of the body; this one doubts by itself."""
    known = fitted.known(subject)
    return replace(known, covariance=known.covariance * (FIRMNESS if subject.people > 1 else 1.0))


def _by_rig(recordings: Sequence[OfflineRecording]) -> list[tuple[list[Camera], list[OfflineRecording]]]:
    """Recordings of one rig together, and all cameras of the rig: those that two recordings share are equal, and one may lack some of them."""
    groups: list[tuple[list[Camera], list[OfflineRecording]]] = []
    for recording in recordings:
        for cameras, members in groups:
            if _same_rig(cameras, recording.cameras):
                cameras += [camera for camera in recording.cameras if camera.name not in {known.name for known in cameras}]
                members.append(recording)
                break
        else:
            groups.append((list(recording.cameras), [recording]))
    return groups


def _same_rig(a: Sequence[Camera], b: Sequence[Camera]) -> bool:
    known = {camera.name: camera for camera in a}
    pairs = [(known[camera.name], camera) for camera in b if camera.name in known]
    fields = ("rotation", "translation", "matrix", "distortion")
    return len(pairs) >= 2 and all(np.array_equal(getattr(x, field), getattr(y, field)) for x, y in pairs for field in fields)


# --- the solution ---------------------------------------------------------------------------------------------------------------------------------------


def _trajectory(solve: OfflineSolve, config: FitConfig, say: Callable[[str], None]) -> Callable[[], float]:
    """What finds motions and slow states, and returns their cost: the structured solve, or the training of networks."""
    if config.fit.trajectory == "network":
        return NetworkTrajectories(solve, config, say).train
    return lambda: solve.solve(config.fit.iterations, config.fit.tolerance_rad)


def _converge(solve: OfflineSolve, find: Callable[[], float], config: FitConfig, known: KeypointNoise | None, say: Callable[[str], None]) -> None:
    """Solve, and read how wrong the calibration and how noisy the detector is from the solution, until both agree."""
    for round_ in range(SPREAD_ROUNDS):
        cost = find()
        say(f"Round {round_ + 1}: cost {cost:.0f}")
        if round_ == SPREAD_ROUNDS - 1:
            break
        readouts = list(solve.uncertainty())
        solve.learn_spread()
        if config.noise.learn:
            _learn_noise(solve, config, known, readouts)


def _learn_noise(solve: OfflineSolve, config: FitConfig, known: KeypointNoise | None, readouts: Sequence[tuple[int, int, Readout]]) -> None:
    for r, rig in enumerate(solve.rigs):
        own = [(rig.trials[t], readout) for i, t, readout in readouts if i == r]
        errors = np.concatenate([np.where(trial.confidence[..., None] > 0, trial.xy - readout.uv, np.nan) for trial, readout in own])
        confidence = np.concatenate([trial.confidence for trial, _ in own])
        stamps = np.concatenate([trial.stamp_ns for trial, _ in own])
        before = noise_before(config.noise, len(rig.cameras), solve.body.keypoint_names, known)
        rig.noise = learned_noise(config.noise, before, errors, confidence, stamps) or rig.noise
    solve.observe([rig.trials for rig in solve.rigs])


def _detector(rig: Rig, names: tuple[str, ...], config: FitConfig) -> KeypointNoise:
    seen = np.any([trial.confidence.any((0, 1)) for trial in rig.trials], axis=0)
    return rig.noise.of_detector(names, seen, config.noise.pixel_sigma_px)


def _two_stages(solve: OfflineSolve, fitted: FittedBody, predicted: dict[tuple[int, int], np.ndarray] | None) -> dict[tuple[int, int], TwoStage]:
    """By rig and trial: the two stages on the same detections, with the same body and cameras."""
    layout, (mean, _) = solve.states_of(0).layout, solve.slow_of(0)
    ik = InverseKinematics(fitted.solved, mean[layout.scales], mean[layout.offsets].reshape(-1, 3))
    found = {}
    for r, rig in enumerate(solve.rigs):
        refined = solve.refined(r)
        for t, trial in enumerate(rig.trials):
            errors = two_stage(ik, trial, rig.cameras, refined, left_out(trial) if predicted else None, predicted[r, t] if predicted else None)
            found[r, t] = errors.of_set(fitted.mapped)
    return found


# --- results --------------------------------------------------------------------------------------------------------------------------------------------


def _frames(solve: OfflineSolve, fitted: FittedBody, rig: int, trial: Trial, readout: Readout) -> list[FrameResult]:
    names = [camera.name for camera in solve.rigs[rig].cameras]
    placement, mapped = solve.states_of(rig).placement, fitted.mapped
    seen = []
    for t, stamp in enumerate(trial.stamp_ns):
        used = trial.confidence[t].any(1)
        there = tuple(n for n, u in zip(names, used, strict=True) if u)
        status = Status(int(trial.status[t])) if used.any() else Status.PREDICTED
        seen.append(Seen(int(stamp), status, trial.confidence[t], there, tuple(n for n in names if n not in there)))
    xy, confidence = np.full((len(seen), len(names), len(mapped), 2), np.nan), np.zeros((len(seen), len(names), len(mapped)))
    xy[:, :, mapped] = np.where(trial.confidence[..., None] > 0, trial.xy, np.nan)
    confidence[:, :, mapped] = trial.confidence
    estimates = pose_estimates(fitted.solved, mapped, readout, seen, [0.0] * len(seen), placement)
    return [FrameResult(e.stamp_ns, e.status, e, e, np.nan, *observed) for e, *observed in zip(estimates, xy, confidence, strict=True)]


def _calibration(solve: OfflineSolve, rig: int, moved: bool, config: FitConfig) -> CalibrationEstimate:
    of, layout = solve.rigs[rig], solve.states_of(rig).layout
    mean, covariance = solve.slow_of(rig)
    states, part = mean[layout.cameras], covariance[layout.cameras, layout.cameras]
    refined = solve.refined(rig)
    uncertainty = camera_uncertainty(refined, states, part, replace(config.refine, cameras=moved or bool(of.found)))
    count, newest = len(of.cameras), max(int(trial.stamp_ns[-1]) for trial in of.trials)
    unknown = np.full(count, np.nan)
    fits = tuple(of.fits.get(c, CameraFit.FINE) for c in range(count))
    is_refined = tuple(moved or c in of.found for c in range(count))
    return CalibrationEstimate(newest, tuple(refined), tuple(of.cameras), is_refined, *uncertainty, unknown, unknown, fits)
