"""Normalised innovations: are new detections where the fit expects them, as surely as it says?

    python benchmark/innovations.py [--seeds 0 1 2] [--noise-correlation 0.8]

Simulated walks. Before a frame is taken, each keypoint's pixel in each camera is predicted with its covariance S = J P J^T + R: P (3, 3) of the keypoint in
the world with everything the fit does not know of pose, body and offsets, J the camera's derivative, R the learned noise. With nu = detected - predicted,
nu^T S^-1 nu has two degrees of freedom: mean 2, median 1.39, 5 % beyond 5.99 (Bar-Shalom, Li & Kirubarajan 2001, section 5.4), where errors are Gaussian and
white. The simulator's detector makes 5 % of its errors four times as large, so these figures are given for its other detections, too, as far as they can be
told (within 4 sigma).
"""

from __future__ import annotations

import argparse

import numpy as np

from biomech_fit.config import FitConfig
from biomech_fit.formats.model import load_body_model
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import simulate
from biomech_fit.stream.pipeline import FitPipeline

STEP_M = 1e-4
SETTLED_S = 3.0


def innovations(seed: int, seconds: float, correlation: float) -> tuple[np.ndarray, np.ndarray]:
    """Normalised squared innovations, and the squared distance in standard deviations of the detector's noise alone."""
    simulation = simulate(SimConfig(seconds=seconds, seed=seed, noise_correlation=correlation))
    body = load_body_model(None, simulation.keypoint_set)
    pipeline = FitPipeline(body, simulation.cameras, simulation.keypoint_set, FitConfig())
    pipeline.compile()
    tracker = pipeline.tracker
    frames: dict[int, list] = {}
    for packet in simulation.packets():
        frames.setdefault(packet.stamp_ns, []).append(packet)
    normalised, plain = [], []
    first = min(frames)
    names = [camera.name for camera in tracker.cameras]
    for stamp_ns, packets in sorted(frames.items()):
        predicted = tracker.predict(stamp_ns) if stamp_ns - first > SETTLED_S * 1e9 else None
        if predicted is not None:
            cameras = tracker.corrected_cameras()
            for packet in packets:
                c = names.index(packet.camera)
                xy, confidence = packet.xy[0][tracker.mapped].astype(float), packet.confidence[0][tracker.mapped].astype(float)
                points, covariance = predicted.keypoints[0].astype(float), predicted.keypoint_covariance[0].astype(float)
                project = cameras[c].project
                slope = np.stack([project(points + STEP_M * e) - project(points - STEP_M * e) for e in np.eye(3)], -1) / (2 * STEP_M)
                every = np.zeros((len(names), len(xy)))
                every[c] = confidence
                sigma = tracker.noise.sigma_px(every)[c]
                total = slope @ covariance @ np.swapaxes(slope, 1, 2) + sigma[:, None, None] ** 2 * np.eye(2)
                nu = xy - predicted.uv[0][c]
                seen = np.isfinite(nu).all(1) & (confidence >= FitConfig().noise.min_confidence)
                normalised.append(np.einsum("ki,kij,kj->k", nu, np.linalg.inv(total), nu)[seen])
                plain.append(((nu**2).sum(1) / sigma**2)[seen])
        for packet in packets:
            pipeline.feed_keypoints(packet)
        pipeline.poll()
    return np.concatenate(normalised), np.concatenate(plain)


def row(values: np.ndarray) -> str:
    return f"{values.mean():.2f} | {np.median(values):.2f} | {100 * (values > 5.99).mean():.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--noise-correlation", type=float, default=0.0)
    args = parser.parse_args()
    print("| seed | innovations | mean (2) | median (1.39) | beyond 5.99 (5 %) | within 4 sigma: mean | median | beyond 5.99 |")
    print("|---|---|---|---|---|---|---|---|")
    for seed in args.seeds:
        normalised, plain = innovations(seed, args.seconds, args.noise_correlation)
        print(f"| {seed} | {len(normalised)} | {row(normalised)} | {row(normalised[plain < 16])} |", flush=True)


if __name__ == "__main__":
    main()
