"""Whether a base model helps people whom it has not seen: a detector that aims beside every keypoint by 10 mm on everybody, which nobody tells the fit.

    python benchmark/base_model.py                   # people have keypoint offsets of their own, too (6 mm), about 15 min on 2 slow cores
    python benchmark/base_model.py --own-mm 0        # nothing but the common bias (and joints that sit a little elsewhere)
    python benchmark/base_model.py --sigma-spread 0.5 --people 4 --first-seed 400 --seconds 3 [--without-noise]    # a detector that is better at some keypoints

Simulated people (true cameras, true bodies through MuJoCo C) are fitted by `biomech-fit fit --meta`; others are then fitted without and with the base model.
Prints the distance of their joint centres from the truth, offline and streamed, and of the causal keypoints from where the detector aims, soon after the start.
Target: 25 % less.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from biomech_fit.cli.main import main as command
from biomech_fit.config.fit import FitConfig
from biomech_fit.core.types import FrameResult
from biomech_fit.formats.subject import Subject, read_subject
from biomech_fit.offline.fit import OfflineRecording, fit_person
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.detector import keypoint_sigma_px
from biomech_fit.sim.simulate import Simulation, simulate
from biomech_fit.sim.subject import detector_bias
from biomech_fit.sim.write import write

BIAS_MM, TARGET = 10.0, 0.25
SKIP_S = 1.0
"""The stream has this long to settle."""
EARLY_S = ((0.0, 0.2), (0.2, 0.5), (0.5, 1.0), (1.0, 3.0))
"""Parts of the stream whose keypoints are looked at."""
LIMBS = tuple(f"{side}{joint}" for side in "RL" for joint in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=8, help="from whom is learned (default: 8)")
    parser.add_argument("--held-out", type=int, default=4, help="people who are then fitted (default: 4)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each recording (default: 4)")
    parser.add_argument("--own-mm", type=float, default=6.0, help="RMS length of a person's own keypoint offsets (default: 6)")
    parser.add_argument("--first-seed", type=int, default=200, help="of the people; the held-out ones follow 100 later (default: 200)")
    parser.add_argument("--detector-seed", type=int, default=0, help="another detector with another bias (default: 0)")
    parser.add_argument("--sigma-spread", type=float, default=0.0, help="how much the detector's keypoints differ in noise (default: 0)")
    parser.add_argument("--without-noise", action="store_true", help="leave the detector's noise out of the base model")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, help="keep the people's fits here; a second start goes on with them")
    args = parser.parse_args()
    config = SimConfig(
        seconds=args.seconds, detector_bias_mm=BIAS_MM, detector_seed=args.detector_seed, keypoint_offset_mm=args.own_mm, sigma_spread=args.sigma_spread
    )
    with tempfile.TemporaryDirectory() as scratch:
        base = learned(config, args, args.out or Path(scratch))
    report_bias(base, simulate(replace(config, seconds=0.3)))
    report_noise(base, simulate(replace(config, seconds=0.3)))
    if args.without_noise:
        base = replace(base, noise=None)
    found = [compared(simulate(replace(config, seed=args.first_seed + 100 + i)), base) for i in range(args.held_out)]
    print(f"all: distance of joint centres from the truth without and with the base model, mm [{100 * TARGET:.0f} % less]")
    for row in range(len(found[0])):
        name = found[0][row][0]
        print_row(name, *(np.concatenate([person[row][k].ravel() for person in found]) for k in (1, 2)))


def learned(config: SimConfig, args: argparse.Namespace, folder: Path) -> Subject:
    """The base model that the command makes of simulated people."""
    people = []
    for seed in range(args.first_seed, args.first_seed + args.people):
        people.append(folder / "recordings" / f"person_{seed}")
        if not people[-1].exists():
            write(simulate(replace(config, seed=seed)), people[-1])
    options = ["--no-refine-cameras", "--no-report", "--workers", str(args.workers)]
    if command(["fit", "--meta", *map(str, people), "-o", str(folder / "fits"), *options]):
        raise SystemExit("The fits failed.")
    return read_subject(folder / "fits" / "base_model.yaml")


def report_bias(base: Subject, anybody: Simulation) -> None:
    """How near the learned mean is to the detector's bias."""
    body, config = anybody.body, anybody.config
    true = detector_bias(body, 1e-3 * config.detector_bias_mm, config.detector_seed)
    offset, std = base.offset_matrix(body, anybody.keypoint_set.name)
    known = [k for k, name in enumerate(body.keypoint_names) if name in base.keypoint_offsets]
    error, size = (1e3 * np.sqrt(np.mean(x[known] ** 2)) for x in (offset - true, true))
    print(
        f"the detector's bias: RMS {size:.1f} mm per axis, {error:.1f} mm from it the learned mean; offsets of the next person {1e3 * std[known].mean():.1f} mm"
    )


def report_noise(base: Subject, anybody: Simulation) -> None:
    """How near the learned noise is to the detector's."""
    noise = base.keypoint_noise(anybody.keypoint_set.name)
    assert noise is not None
    true = keypoint_sigma_px(anybody.config, np.array(anybody.keypoint_set.mirror))
    ratio = np.log([noise.sigma_px[name] / sigma for name, sigma in zip(anybody.body.keypoint_names, true, strict=True) if name in noise.sigma_px])
    print(f"its noise: {true.min():.1f} to {true.max():.1f} px; learned: log ratio {ratio.mean():+.2f} with a standard deviation of {ratio.std():.2f}")


def compared(walk: Simulation, base: Subject) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Errors (T, J) mm without and with the base model: name, without, with."""
    names = walk.truth.joint_centre_names
    limbs = [names.index(name) for name in LIMBS]
    without, with_base = fitted(walk, None), fitted(walk, base)
    rows = []
    for name in ("fit", "stream"):
        rows += [
            (f"{name}, all {len(names)} centres", without[name], with_base[name]),
            (f"{name}, hip to elbow", without[name][:, limbs], with_base[name][:, limbs]),
        ]
    early = [f"keypoints, {a:g} to {b:g} s" for a, b in EARLY_S if a < walk.config.seconds]
    rows += [(name, without[name], with_base[name]) for name in early]
    print(f"person {walk.config.seed}:", flush=True)
    for row in rows:
        print_row(*row)
    return rows


def fitted(walk: Simulation, subject: Subject | None) -> dict[str, np.ndarray]:
    """Errors (T, J) mm of the offline fit and of the causal stream that it starts from, and (T, K) mm of the stream's keypoints, with true cameras."""
    config = FitConfig()
    config = replace(config, refine=replace(config.refine, cameras=False), fit=replace(config.fit, two_stage=False))
    recording = OfflineRecording("walk", list(walk.cameras), walk.config.frame_rate_hz, walk.packets)
    (trial,) = fit_person([recording], walk.body, walk.keypoint_set, config, subject).trials
    found = {"fit": errors(walk, trial.results, 0.0), "stream": errors(walk, trial.streamed, SKIP_S)}
    return found | {f"keypoints, {a:g} to {b:g} s": errors(walk, trial.streamed, a, b, "keypoints") for a, b in EARLY_S if a < walk.config.seconds}


def errors(walk: Simulation, results: Sequence[FrameResult], from_s: float, until_s: float = np.inf, part: str = "joint_centres") -> np.ndarray:
    """(T, J or K) mm of the frames that have an estimate."""
    place = {stamp: i for i, stamp in enumerate(np.round(walk.truth.time_s * 1e9).astype(np.int64).tolist())}
    seen = [(place[r.stamp_ns], getattr(r.causal, part)) for r in results if r.causal is not None and r.stamp_ns in place]
    kept = [(i, points) for i, points in seen if from_s <= walk.truth.time_s[i] < until_s]
    return np.array([1e3 * np.linalg.norm(points - getattr(walk.truth, part)[i], axis=-1) for i, points in kept])


def print_row(name: str, without: np.ndarray, with_base: np.ndarray) -> None:
    parts = [
        f"{what} {of(without):.2f} -> {of(with_base):.2f} ({100 * (1 - of(with_base) / of(without)):+.0f} %)"
        for what, of in (("median", np.median), ("mean", np.mean))
    ]
    print(f"  {name:28s} {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
