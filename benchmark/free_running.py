"""Cameras without a trigger: each exposes at its own phase of the frame period, with stamps of one clock. What that costs beside triggered ones.

    python benchmark/free_running.py [--rates 60 30] [--seeds 0 1]      # 2 minutes on 2 cores

One simulated walk is seen at eight times the rate, and of each camera every eighth frame is taken: all the same one (triggered), one after another (evenly
spread), or each at random. Keypoints against where the detector aims, from 1.5 s on.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from biomech_fit.config import FitConfig
from biomech_fit.core.types import FrameResult, PoseEstimate
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import Simulation, simulate
from biomech_fit.stream.pipeline import FitPipeline

CAMERAS, FINER, SKIP_S, SECONDS = 8, 8, 1.5, 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[60.0, 30.0], metavar="HZ")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="N")
    args = parser.parse_args()
    print("| Hz | seed | cameras | causal, median (95 %) mm | smoothed, median (95 %) mm | frames |\n|---|---|---|---|---|---|")
    for rate_hz in args.rates:
        for seed in args.seeds:
            s = simulate(SimConfig(seconds=SECONDS, cameras=CAMERAS, frame_rate_hz=FINER * rate_hz, seed=seed))
            config = FitConfig()
            pipeline = FitPipeline(s.body, s.cameras, s.keypoint_set, replace(config, stream=replace(config.stream, frame_rate_hz=rate_hz)))
            pipeline.compile()
            at_random = np.random.default_rng(seed).integers(0, FINER, CAMERAS)
            for name, phases in (("triggered", np.zeros(CAMERAS, int)), ("evenly spread", np.arange(CAMERAS)), ("at random", at_random)):
                results = played(pipeline, s, phases)
                causal, smoothed = ([getattr(r, kind) for r in results if getattr(r, kind) is not None] for kind in ("causal", "smoothed"))
                print(f"| {rate_hz:g} | {seed} | {name} | {told(causal, s)} | {told(smoothed, s)} | {len(causal)} |", flush=True)


def played(pipeline: FitPipeline, s: Simulation, phases: np.ndarray) -> list[FrameResult]:
    """Of each camera the frames of its phase."""
    pipeline.reset(subject=True, cameras=True)
    phase_of = {camera.name: int(phase) for camera, phase in zip(s.cameras, phases, strict=True)}
    frame: Counter[str] = Counter()
    results: list[FrameResult] = []
    for packet in s.packets():
        if frame[packet.camera] % FINER == phase_of[packet.camera]:
            pipeline.feed_keypoints(packet)
            results += pipeline.poll()
        frame[packet.camera] += 1
    return results + pipeline.flush()


def told(estimates: Sequence[PoseEstimate], s: Simulation) -> str:
    """Errors in mm; truth is interpolated to the estimates' stamps."""
    late = [e for e in estimates if e.stamp_ns > SKIP_S * 1e9]
    times = np.array([e.stamp_ns for e in late]) * 1e-9
    flat = s.truth.keypoints.reshape(len(s.truth.time_s), -1)
    true = np.stack([np.interp(times, s.truth.time_s, column) for column in flat.T], 1).reshape(len(late), -1, 3)
    error = 1e3 * np.linalg.norm(np.stack([e.keypoints for e in late]) - true, axis=-1)
    return f"{np.nanmedian(error):.1f} ({np.nanpercentile(error, 95):.1f})"


if __name__ == "__main__":
    main()
