"""The offline fit against simulated truth: several walks of one person before cameras that stand a little elsewhere than they were loaded, one of them late.

    python benchmark/fit_simulated.py [--trials 3] [--seconds 10] [--seeds 0] [--offsets-known]      # accuracy, coverage, cameras
    python benchmark/fit_simulated.py --time 1 2 4 --seconds 4                                       # time and memory by the number of trials
    python benchmark/fit_simulated.py --rigs 100                                                     # how surely a rig stands in the world; no fits

Prints a line for each figure with its target in brackets. Expected calibration error: the mean absolute difference between nominal and empirical coverage of
central intervals at LEVELS.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.stats import norm

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.camera import Camera
from biomech_fit.core.gauge import Placement, common_motions, rig_placement
from biomech_fit.core.types import FrameResult, PoseEstimate
from biomech_fit.formats.subject import KeypointOffset, Scale, Subject
from biomech_fit.offline.fit import OfflineRecording, PersonFit, TrialFit, fit_person
from biomech_fit.sim.cameras import camera_rig, perturbed
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import Simulation, simulate

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.8, 0.9, 0.95)
LATE_CAMERA, LAG_MS = 2, 25.0
SKIP_S = 2.0
"""The streaming output has this long to settle."""
LOWER_LIMB = ("hip_", "knee_", "ankle_", "subtalar_", "mtp_")
SAGITTAL = ("hip_flexion", "knee_angle", "ankle_angle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--offsets-known", action="store_true", help="also fit with the true keypoint offsets: what is left is not their doing")
    parser.add_argument("--time", type=int, nargs="+", metavar="N", help="only the time of fits of so many trials, each a person with true cameras")
    parser.add_argument("--rigs", type=int, metavar="N", help="only whether so many rigs stand in the world as surely as is said")
    args = parser.parse_args()
    if args.rigs:
        stands(args.rigs)
        return
    if args.time:
        for count in args.time:
            _time(count, args.seconds)
        return
    for seed in args.seeds:
        walks = simulated(seed, args.trials, args.seconds)
        person = fitted(walks, FitConfig())
        print(f"seed {seed}, {args.trials} trials of {args.seconds:g} s, cameras {'accepted' if person.held_out and person.held_out.accepted else 'refused'}")
        accuracy(walks, person)
        cameras(walks, person)
        if args.offsets_known:
            config = FitConfig()
            config = replace(config, refine=replace(config.refine, offsets=False))
            print("with the true keypoint offsets:")
            accuracy(walks, fitted(walks, config, true_offsets(walks[0])))


def simulated(seed: int, trials: int, seconds: float) -> list[Simulation]:
    """Walks of one person before the same cameras, off by 0.5 degrees and 20 mm, one of them late."""
    config = SimConfig(seconds=seconds, seed=seed, calibration_rotation_deg=0.5, calibration_translation_mm=20.0, lagging_camera=LATE_CAMERA, lag_ms=LAG_MS)
    return [simulate(config, part=part) for part in range(trials)]


def fitted(walks: Sequence[Simulation], config: FitConfig, subject: Subject | None = None) -> PersonFit:
    recordings = [OfflineRecording(f"walk_{i}", list(w.cameras), w.config.frame_rate_hz, w.packets) for i, w in enumerate(walks)]
    return fit_person(recordings, walks[0].body, walks[0].keypoint_set, config, subject, lambda text: print(f"  {text}", flush=True))


def true_offsets(walk: Simulation) -> Subject:
    """A subject file of which only the keypoint offsets say anything."""
    body, offset = walk.body, walk.subject.keypoint_offset
    offsets = {
        name: KeypointOffset(tuple(offset[k].tolist()), (0.001,) * 3)  # type: ignore[arg-type]
        for k, name in enumerate(body.keypoint_names)
        if np.isfinite(offset[k]).all()
    }
    return Subject("true offsets", body.name, {name: Scale(0.0, 0.1) for name in body.scale_names}, walk.keypoint_set.name, offsets, {})


def accuracy(walks: Sequence[Simulation], person: PersonFit) -> None:
    """Joint angles of the fit and of the causal stream, segment lengths, joint centres, coverage."""
    names = walks[0].body.coordinate_names
    angle = np.array([not n.startswith("pelvis_t") or n == "pelvis_tilt" for n in names])
    groups = {
        "all angles": angle,
        "lower limb": angle & np.array([n.startswith(LOWER_LIMB) for n in names]),
        "sagittal lower limb": angle & np.array([n.startswith(SAGITTAL) for n in names]),
    }
    fit, fit_std = _errors(walks, person, lambda t: t.results)
    stream, _ = _errors(walks, person, lambda t: t.streamed)
    print("  RMSE in degrees: fit, offset removed | causal stream, offset removed | less by | fit, raw | stream, raw")
    for name, chosen in groups.items():
        own, causal = (_rms([e[:, chosen] - e[:, chosen].mean(0) for e in errors]) for errors in (fit, stream))
        raw, causal_raw = (_rms([e[:, chosen] for e in errors]) for errors in (fit, stream))
        print(f"  {name:20s} {own:.2f} | {causal:.2f} | {100 * (1 - own / causal):.0f} % [25 %; sagittal 1.5 deg] | {raw:.2f} | {causal_raw:.2f}")
    true_lengths = dict(zip(walks[0].subject.segment_names, walks[0].subject.segment_lengths_m, strict=True))
    wrong = {n: 100 * (person.subject.segment_lengths_m[n] / t - 1) for n, t in true_lengths.items()}
    worst = max(wrong, key=lambda n: abs(wrong[n]))
    print(f"  segment lengths: median {np.median(np.abs(list(wrong.values()))):.1f} %, worst {worst} {wrong[worst]:+.1f} % [3 %]")
    centres = np.concatenate([1e3 * np.linalg.norm(_series(t.results, "joint_centres", w) - w.truth.joint_centres, axis=-1) for w, t in _pairs(walks, person)])
    print(f"  joint centres: median {np.median(centres):.1f} mm raw")
    coverage("angles", np.concatenate([e[:, angle] for e in fit]), np.concatenate([s[:, angle] for s in fit_std]))
    points = [(_series(t.results, "keypoints", w) - w.truth.keypoints, _series(t.results, "keypoint_std", w)) for w, t in _pairs(walks, person)]
    coverage("keypoints in the world", *(np.concatenate(parts) for parts in zip(*points, strict=True)))
    points = [_beside_the_rig(w, t) for w, t in _pairs(walks, person)]
    error, std = (np.concatenate(parts) for parts in zip(*points, strict=True))
    coverage(f"keypoints, the rig's own place aside (median {1e3 * np.nanmedian(np.linalg.norm(error, axis=-1)):.1f} mm)", error, std)


def _beside_the_rig(walk: Simulation, trial: TrialFit) -> tuple[np.ndarray, np.ndarray]:
    """Errors and standard deviations (T, K, 3) m of keypoints when the truth is moved to where the fit's world is.

    No picture tells where the rig as a whole stands: in the fit it is where it was loaded, `core.gauge.rig_gauge`. From there the true cameras are moved
    together by shift, turn and stretch; the truth is moved back by these, and the standard deviations are without what `TrialFit.placement` adds.
    """
    found, truth = _series(trial.results, "keypoints", walk), walk.truth.keypoints
    covariance = _series(trial.results, "keypoint_covariance", walk)
    if trial.placement is None:
        return found - truth, np.sqrt(np.diagonal(covariance, axis1=2, axis2=3))
    placement, moved = net_motion(walk.cameras, walk.true_cameras)
    shape = found.shape
    back = (placement.moves(truth.reshape(-1, 3)) @ moved).reshape(shape)
    own = covariance - trial.placement.of_points(found.reshape(-1, 3)).reshape(*shape, 3)
    return found - (truth - back), np.sqrt(np.diagonal(own, axis1=2, axis2=3))


def net_motion(loaded: Sequence[Camera], true: Sequence[Camera]) -> tuple[Placement, np.ndarray]:
    """How far the true rig as a whole is shifted (m), turned (rad) and stretched from the loaded one, (7,), and how surely it should not be."""
    information, states = _camera_information(), _camera_errors(loaded, true)
    placement, (flat, _) = rig_placement(loaded, information), common_motions(loaded)
    return placement, placement.covariance @ flat.T @ (np.tile(information, len(loaded)) * states)


def _camera_information() -> np.ndarray:
    """(7,) of a camera's states as configured; the clock's is of no concern."""
    refine = FitConfig().refine
    return np.r_[np.full(3, np.deg2rad(refine.camera_rotation_std_deg) ** -2), np.full(3, refine.camera_translation_std_m**-2), 1.0]


def _camera_errors(loaded: Sequence[Camera], true: Sequence[Camera]) -> np.ndarray:
    """(7 C,) the states that bring the loaded cameras to the true ones."""
    pairs = zip(loaded, true, strict=True)
    return np.concatenate([np.r_[Rotation.from_matrix(t.rotation @ c.rotation.T).as_rotvec(), t.centre - c.centre, 0.0] for c, t in pairs])


def stands(count: int) -> None:
    """Rigs of the simulator, loaded with errors: the net motion, and with it a point in the middle, against how sure the fit is of it.

    The spread of the errors is what `SlowStates.learn_spread` makes of corrections that are exact.
    """
    sim, information, squares, z = SimConfig(), _camera_information(), [], []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        true = camera_rig(rng, sim.cameras, layout=sim.layout, radius_m=sim.radius_m, width_px=sim.image_width_px, height_px=sim.image_height_px,
                          focal_px=sim.focal_px)  # fmt: skip
        loaded = perturbed(true, rng, np.deg2rad(0.5), 0.02)
        placement, moved = net_motion(loaded, true)
        left = _camera_errors(loaded, true) - common_motions(loaded)[0] @ moved
        spread = (1 + np.sum(np.tile(information, len(true)) * left**2)) / (1 + 6 * len(true) - 7)
        squares.append(moved @ np.linalg.solve(spread * placement.covariance, moved))
        middle = np.array([[0.0, 0.0, 1.0]])
        z.append(placement.moves(middle)[0] @ moved / np.sqrt(spread * np.diag(placement.of_points(middle)[0])))
    print(f"{count} rigs: net motion {np.mean(squares):.2f} squared standard deviations (7)")
    coverage("a point in the middle", np.array(z), np.ones((count, 3)))
    single = [np.mean([abs(np.mean(np.abs(one) < norm.ppf(0.5 + 0.5 * level)) - level) for level in LEVELS]) for one in z]
    low, high = np.percentile(single, [5, 95])
    print(f"  of single rigs: calibration error {np.median(single):.2f}, 5th to 95th percentile {low:.2f} to {high:.2f}")


def coverage(name: str, error: np.ndarray, std: np.ndarray) -> None:
    """Share of errors within central intervals, and the expected calibration error."""
    good = np.isfinite(error) & np.isfinite(std) & (std > 0)
    z = np.abs(error[good]) / std[good]
    found = np.array([np.mean(z < norm.ppf(0.5 + 0.5 * level)) for level in LEVELS])
    ece = float(np.mean(np.abs(found - LEVELS)))
    print(f"  coverage of {name}: 68 %: {100 * found[LEVELS.index(0.68)]:.0f} %, 95 %: {100 * found[-1]:.0f} % [90 to 98], calibration error {ece:.3f} [0.1]")


def cameras(walks: Sequence[Simulation], person: PersonFit) -> None:
    """Cameras against the truth up to a similarity, and the late camera's clock."""
    calibration, true = person.trials[0].calibration, walks[0].true_cameras
    turn, shift = rig_errors(calibration.cameras, true)
    loaded_turn, loaded_shift = rig_errors(walks[0].cameras, true)
    print(f"  cameras up to gauge: median {np.median(turn):.3f} deg (loaded {np.median(loaded_turn):.3f}) [0.06], {np.median(shift):.1f} mm "
          f"(loaded {np.median(loaded_shift):.1f}) [5]; largest {turn.max():.3f} deg, {shift.max():.1f} mm")  # fmt: skip
    clock = 1e3 * (np.asarray(calibration.time_offset_s) - walks[0].truth.clock_offset_s)
    others = np.delete(clock, LATE_CAMERA)
    print(f"  the late camera's clock: {clock[LATE_CAMERA] - np.median(others):+.2f} ms from the truth, relative to the others [2]")


def rig_errors(found: Sequence[Camera], true: Sequence[Camera]) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (deg) and centre (mm) errors (C,) after the similarity that brings the centres nearest (Umeyama 1991)."""
    a, b = (np.array([c.centre for c in rig]) for rig in (found, true))
    a0, b0 = a - a.mean(0), b - b.mean(0)
    u, s, vt = np.linalg.svd(b0.T @ a0)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = u @ sign @ vt
    scale = np.sum(s * np.diag(sign)) / np.sum(a0**2)
    shift = 1e3 * np.linalg.norm(scale * a0 @ turn.T - b0, axis=1)
    relative = [f.rotation @ turn.T @ t.rotation.T for f, t in zip(found, true, strict=True)]
    return np.rad2deg([np.arccos(np.clip((np.trace(r) - 1) / 2, -1, 1)) for r in relative]), shift


def _pairs(walks: Sequence[Simulation], person: PersonFit) -> list[tuple[Simulation, TrialFit]]:
    return [(walks[int(t.recording.name.rsplit("_", 1)[1])], t) for t in person.trials]


def _estimates(results: Sequence[FrameResult]) -> dict[int, PoseEstimate]:
    return {r.causal.stamp_ns: r.causal for r in results if r.causal is not None}


def _series(results: Sequence[FrameResult], what: str, walk: Simulation) -> np.ndarray:
    """(T, ...) at the truth's times; NaN where there is no estimate."""
    found = _estimates(results)
    stamps = np.round(walk.truth.time_s * 1e9).astype(np.int64)
    usual = np.asarray(getattr(next(iter(found.values())), what), float)
    return np.array([np.asarray(getattr(found[s], what), float) if s in found else np.full_like(usual, np.nan) for s in stamps.tolist()])


def _errors(walks: Sequence[Simulation], person: PersonFit, of) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Errors and standard deviations (T, N) of each trial, in degrees (angles), after SKIP_S."""
    errors, stds = [], []
    for walk, trial in _pairs(walks, person):
        error = _series(of(trial), "position", walk) - walk.truth.coordinates
        error, std = np.angle(np.exp(1j * error)), _series(of(trial), "position_std", walk)
        kept = np.isfinite(error).all(1) & (walk.truth.time_s >= min(SKIP_S, 0.3 * walk.config.seconds))
        errors.append(np.rad2deg(error[kept]))
        stds.append(np.rad2deg(std[kept]))
    return errors, stds


def _rms(errors: Sequence[np.ndarray]) -> float:
    return float(np.sqrt(np.mean(np.concatenate([e.ravel() for e in errors]) ** 2)))


def _time(trials: int, seconds: float) -> None:
    """Wall time and peak memory of a fit of so many trials; compilation counts with the first."""
    walks = [simulate(SimConfig(seconds=seconds), part=part) for part in range(trials)]
    begin, cpu = time.perf_counter(), time.process_time()
    person = fitted(walks, FitConfig())
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    parts = ", ".join(f"{name} {value:.1f} s" for name, value in person.seconds.items())
    print(f"{trials} trials of {seconds:g} s: {wall:.1f} s ({parts}; {cpu:.0f} s of processor time), peak memory of the process {memory:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
