"""Several people: are identities kept? Simulated walkers whose ways cross, with and without trouble; one JSON object and a table.

    python benchmark/people.py [--people 2 3 4] [--seeds 0 1 2] [--conditions plain absent ...] [--seconds 8] [--rate 60] [--cameras 8] [-o OUT.json]

Every output person is matched in every frame to the true person whose keypoints are nearest (median under 0.3 m). A switch is a person's number going from
one true person to another; `tracked` is the share of frames (after the first second, and while present) in which a true person has an output;
`ghost` the share of output frames that are nobody.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from biomech_fit.config import FitConfig
from biomech_fit.core.types import FrameResult, KeypointPacket
from biomech_fit.formats.model import load_body_model
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import Simulation, simulate
from biomech_fit.stream.pipeline import FitPipeline

NEAR_M = 0.3
ABSENT_S = (3.0, 4.5)
"""In the condition `absent`, nobody detects the second person between these times."""
SETTINGS: dict[str, dict[str, float]] = {
    "plain": {},
    "strangers": {"strangers": 2},
    "swaps": {"swaps_per_s": 0.5},
    "perturbed": {"calibration_rotation_deg": 0.5, "calibration_translation_mm": 20.0},
    "loss": {"packet_loss": 0.2},
    "absent": {},
}


def without(simulation: Simulation, person: int, begin_s: float, end_s: float) -> Iterator[KeypointPacket]:
    """The packets, with one person not detected for a while."""
    truth = [simulation, *simulation.others][person].truth.keypoints
    cameras = {c.name: c for c in simulation.true_cameras}
    for packet in simulation.packets():
        time_s = packet.stamp_ns * 1e-9
        if begin_s <= time_s < end_s and len(packet.xy):
            frame = min(round(time_s * simulation.config.frame_rate_hz), len(truth) - 1)
            pixels = cameras[packet.camera].project(truth[frame])
            distance = np.nanmedian(np.linalg.norm(packet.xy - pixels, axis=-1), axis=1)
            keep = np.arange(len(packet.xy)) != (int(np.nanargmin(distance)) if np.nanmin(distance) < 30 else -1)
            packet = replace(packet, xy=packet.xy[keep], confidence=packet.confidence[keep], person_ids=packet.person_ids[keep])
        yield packet


def score(simulation: Simulation, results: list[FrameResult], condition: str) -> dict[str, float]:
    """Switches, shares and errors of one run."""
    truth = np.stack([s.truth.keypoints for s in (simulation, *simulation.others)])
    rate, frames = simulation.config.frame_rate_hz, truth.shape[1]
    whose = np.full((8, frames), -1)
    error = np.full((8, frames), np.nan)
    outputs = 0
    for result in results:
        if result.causal is None:
            continue
        frame = min(round(result.stamp_ns * 1e-9 * rate), frames - 1)
        distance = np.nanmedian(np.linalg.norm(truth[:, frame] - result.causal.keypoints, axis=-1), axis=1)
        best = int(np.argmin(distance))
        outputs += 1
        if distance[best] < NEAR_M:
            whose[result.person - 1, frame], error[result.person - 1, frame] = best, distance[best]
    switches = sum(int((np.diff(row[row >= 0]) != 0).sum()) for row in whose)
    ids = [len({int(number) for number in np.nonzero((whose == p).any(1))[0]}) for p in range(len(truth))]
    late = np.arange(frames) >= rate
    shares = []
    for p in range(len(truth)):
        expected = late.copy()
        if condition == "absent" and p == 1:
            times = np.arange(frames) / rate
            expected &= (times < ABSENT_S[0]) | (times > ABSENT_S[1] + 0.5)
        shares.append((whose[:, expected] == p).any(0).mean())
    return {
        "switches": switches,
        "numbers_per_person": float(np.max(ids)),
        "tracked": float(np.min(shares)),
        "ghost": float(1 - (whose >= 0).sum() / max(outputs, 1)),
        "median_mm": float(1e3 * np.nanmedian(error[:, late])),
    }


def run(people: int, seed: int, condition: str, arguments: argparse.Namespace) -> dict[str, float]:
    """One simulated crowd through the pipeline."""
    knobs = {"seconds": arguments.seconds, "frame_rate_hz": arguments.rate, "cameras": arguments.cameras, "seed": seed, **SETTINGS[condition]}
    simulation = simulate(SimConfig(people=people, **knobs))
    config = FitConfig()
    config = replace(config, stream=replace(config.stream, max_people=people, frame_rate_hz=arguments.rate))
    body = load_body_model(None, simulation.keypoint_set)
    pipeline = FitPipeline(body, simulation.cameras, simulation.keypoint_set, config)
    pipeline.compile()
    packets = without(simulation, 1, *ABSENT_S) if condition == "absent" else simulation.packets()
    results: list[FrameResult] = []
    times = []
    for packet in packets:
        began = time.perf_counter()
        pipeline.feed_keypoints(packet)
        new = pipeline.poll()
        if new:
            times.append(time.perf_counter() - began)
        results += new
    p50, p99 = (float(1e3 * np.percentile(times, q)) for q in (50, 99))
    return {**score(simulation, results, condition), "p50_ms": p50, "p99_ms": p99}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--conditions", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("-o", "--out")
    arguments = parser.parse_args()
    columns = ("switches", "numbers_per_person", "tracked", "ghost", "median_mm", "p50_ms", "p99_ms")
    print("| people | condition | seed | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 3) + "|")
    table = []
    for people in arguments.people:
        for condition in arguments.conditions:
            for seed in arguments.seeds:
                row = run(people, seed, condition, arguments)
                table.append({"people": people, "condition": condition, "seed": seed, **row})
                print(f"| {people} | {condition} | {seed} | " + " | ".join(f"{row[c]:.3g}" for c in columns) + " |", flush=True)
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as stream:
            json.dump({"seconds": arguments.seconds, "rate_hz": arguments.rate, "cameras": arguments.cameras, "runs": table}, stream, indent=2)


if __name__ == "__main__":
    main()
