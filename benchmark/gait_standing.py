"""A minute of standing while the arms and the trunk move, through simulated cameras: is there any gait event?

    python benchmark/gait_standing.py [--seconds 60] [--people 3] [-o OUT.json]

Simulated people stand before eight cameras (60 Hz, 4 px of noise with heavy tails, 3 % missing), raise and bend their arms up to over the head at up to 1.1 Hz,
and bend and turn the trunk; the pelvis sways. The packets go through the pipeline, its poses through the gait detector: live on body_state and on
body_state_smoothed, and offline. Prints one JSON object; exit code 1 where there is an event.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.gait import GaitDetector
from biomech_fit.core.gait_recording import causal_gait, offline_gait
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import KeypointPacket
from biomech_fit.formats.atomic import write_text
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.detector import detect
from biomech_fit.sim.simulate import simulate
from biomech_fit.sim.subject import body_points
from biomech_fit.stream.pipeline import FitPipeline

ARMS = {"arm_flex": (50.0, 70.0, 0.7), "arm_add": (-20.0, 25.0, 0.45), "arm_rot": (0.0, 20.0, 0.6), "elbow_flex": (50.0, 40.0, 1.1)}
TRUNK = {"lumbar_extension": (-5.0, 10.0, 0.31), "lumbar_bending": (0.0, 10.0, 0.23), "lumbar_rotation": (0.0, 20.0, 0.37)}
"""Hinges: mean (degrees), amplitude (degrees), frequency (Hz)."""


class Standing:
    """A person who stands and moves the arms.

    Args:
        seconds: how long.
        seed: of the person, the cameras and the detectors.
    """

    def __init__(self, seconds: float, seed: int) -> None:
        self._config = SimConfig(seconds=seconds, seed=seed, path="stand")
        sim = simulate(SimConfig(seconds=seconds, seed=seed, path="stand", sigma_px=0.0))
        self.body: BodyModel = sim.body
        self.keypoint_set: KeypointSet = sim.keypoint_set
        self.cameras: list[Camera] = sim.cameras
        self._time_s, subject = sim.truth.time_s, sim.subject
        qpos, rng = sim.truth.qpos.copy(), np.random.default_rng(seed)
        for name, movement in {**{f"{arm}_{side}": m for arm, m in ARMS.items() for side in "rl"}, **TRUNK}.items():
            mean, amplitude, frequency = movement
            phase = 2 * np.pi * (frequency * rng.uniform(0.8, 1.0) * self._time_s + rng.random())
            qpos[:, subject.mj_model.joint(name).qposadr[0]] = np.radians(mean + amplitude * np.sin(phase))
        self.points = body_points(subject.mj_model, qpos, subject.keypoint_body, subject.keypoint_position + subject.keypoint_offset)
        """(T, K, 3) m, what the detectors aim at."""
        self._rngs = rng.spawn(len(self.cameras))

    def frames(self) -> Iterator[list[KeypointPacket]]:
        """What the cameras send at each instant."""
        mirror = np.array(self.keypoint_set.mirror or range(len(self.keypoint_set)))
        seen = []
        for camera, rng in zip(self.cameras, self._rngs, strict=True):
            nothing_hidden = np.zeros(self.points.shape[:2], bool)
            seen.append(detect(self._config, [(0.0, camera)], self.points, self._time_s, mirror, rng, (), rng, lambda hidden=nothing_hidden: hidden))
        for frame in range(len(self._time_s)):
            yield [d.packet(frame, int(d.arrival_ns[frame])) for d in seen]


def events_of_standing(seconds: float, seed: int) -> dict[str, int]:
    """Events by kind of input, and the frames of each."""
    person = Standing(seconds, seed)
    pipeline = FitPipeline(person.body, person.cameras, person.keypoint_set, FitConfig())
    pipeline.compile()
    results = []
    for packets in person.frames():
        for packet in packets:
            pipeline.feed_keypoints(packet)
        results += pipeline.poll()
    results += pipeline.flush()
    detector, out = GaitDetector(person.keypoint_set.names, person.body.joint_centre_names), {}
    for name in ("causal", "smoothed"):
        feet = [detector.feet(e) for r in results if (e := getattr(r, name)) is not None]
        out[f"{name}_frames"], out[f"{name}_events"] = len(feet), len(causal_gait(detector, feet)[0])
    return out | {"offline_events": len(offline_gait(detector, feet)[0])}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of standing, each (%(default)s)")
    parser.add_argument("--people", type=int, default=3, help="each with other cameras and movements (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="the figures as JSON")
    arguments = parser.parse_args()
    people = [events_of_standing(arguments.seconds, seed) for seed in range(arguments.people)]
    text = json.dumps({"seconds": arguments.seconds, "people": people}, indent=1)
    print(text)
    if arguments.output:
        write_text(arguments.output, text + "\n")
    return int(any(n for person in people for name, n in person.items() if name.endswith("events")))


if __name__ == "__main__":
    sys.exit(main())
