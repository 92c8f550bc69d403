"""Whether a base model helps people whom it has not seen: a detector that aims beside every keypoint by 10 mm on everybody, which nobody tells the fit.

    python benchmark/base_model.py                   # people have keypoint offsets of their own, too (6 mm), about 15 min on 2 slow cores
    python benchmark/base_model.py --own-mm 0        # nothing but the common bias (and joints that sit a little elsewhere)

Simulated people (true cameras, true bodies through MuJoCo C) are fitted by `biomech-fit fit --meta`; others are then fitted without and with the base model.
Prints the distance of their joint centres from the truth, offline and streamed. Target: 25 % less.
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
from biomech_fit.sim.simulate import Simulation, simulate
from biomech_fit.sim.subject import detector_bias
from biomech_fit.sim.write import write

BIAS_MM, TARGET = 10.0, 0.25
SKIP_S = 1.0
"""The stream has this long to settle."""
LIMBS = tuple(f"{side}{joint}" for side in "RL" for joint in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=8, help="from whom is learned (default: 8)")
    parser.add_argument("--held-out", type=int, default=4, help="people who are then fitted (default: 4)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each recording (default: 4)")
    parser.add_argument("--own-mm", type=float, default=6.0, help="RMS length of a person's own keypoint offsets (default: 6)")
    parser.add_argument("--first-seed", type=int, default=200, help="of the people; the held-out ones follow 100 later (default: 200)")
    parser.add_argument("--detector-seed", type=int, default=0, help="another detector with another bias (default: 0)")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, help="keep the people's fits here; a second start goes on with them")
    args = parser.parse_args()
    config = SimConfig(seconds=args.seconds, detector_bias_mm=BIAS_MM, detector_seed=args.detector_seed, keypoint_offset_mm=args.own_mm)
    with tempfile.TemporaryDirectory() as scratch:
        base = learned(config, args, args.out or Path(scratch))
    report_bias(base, simulate(replace(config, seconds=0.3)))
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


def compared(walk: Simulation, base: Subject) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Errors (T, J) mm without and with the base model: name, without, with."""
    names = walk.truth.joint_centre_names
    limbs = [names.index(name) for name in LIMBS]
    without, with_base = fitted(walk, None), fitted(walk, base)
    rows = []
    for name in without:
        rows += [
            (f"{name}, all {len(names)} centres", without[name], with_base[name]),
            (f"{name}, hip to elbow", without[name][:, limbs], with_base[name][:, limbs]),
        ]
    print(f"person {walk.config.seed}:", flush=True)
    for row in rows:
        print_row(*row)
    return rows


def fitted(walk: Simulation, subject: Subject | None) -> dict[str, np.ndarray]:
    """Errors (T, J) mm of the offline fit and of the causal stream that it starts from, with true cameras."""
    config = FitConfig()
    config = replace(config, refine=replace(config.refine, cameras=False), fit=replace(config.fit, two_stage=False))
    recording = OfflineRecording("walk", list(walk.cameras), walk.config.frame_rate_hz, walk.packets)
    (trial,) = fit_person([recording], walk.body, walk.keypoint_set, config, subject).trials
    return {"fit": errors(walk, trial.results, 0.0), "stream": errors(walk, trial.streamed, SKIP_S)}


def errors(walk: Simulation, results: Sequence[FrameResult], from_s: float) -> np.ndarray:
    """(T, J) mm of the frames that have an estimate."""
    place = {stamp: i for i, stamp in enumerate(np.round(walk.truth.time_s * 1e9).astype(np.int64).tolist())}
    seen = [(place[r.stamp_ns], r.causal.joint_centres) for r in results if r.causal is not None and r.stamp_ns in place]
    kept = [(i, centres) for i, centres in seen if walk.truth.time_s[i] >= from_s]
    return np.array([1e3 * np.linalg.norm(centres - walk.truth.joint_centres[i], axis=-1) for i, centres in kept])


def print_row(name: str, without: np.ndarray, with_base: np.ndarray) -> None:
    parts = [
        f"{what} {of(without):.2f} -> {of(with_base):.2f} ({100 * (1 - of(with_base) / of(without)):+.0f} %)"
        for what, of in (("median", np.median), ("mean", np.mean))
    ]
    print(f"  {name:28s} {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
