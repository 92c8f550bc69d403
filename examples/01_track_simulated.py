"""Simulate a walking person, stream the packets through the pipeline as a camera rig would, and print the knee angles.

    python examples/01_track_simulated.py [SECONDS]
"""

import sys

import numpy as np

from biomech_fit.config import FitConfig
from biomech_fit.core.types import Status
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import simulate
from biomech_fit.stream.pipeline import FitPipeline


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    walk = simulate(SimConfig(seconds=seconds))  # 8 cameras, 26 keypoints, 60 Hz; its truth is in walk.truth
    pipeline = FitPipeline(walk.body, walk.cameras, walk.keypoint_set, FitConfig())
    print(f"Compiled in {pipeline.compile():.1f} s.")

    names = list(walk.body.coordinate_names)
    knees = [names.index("knee_angle_l"), names.index("knee_angle_r")]
    errors_mm, frame = [], 0
    for packet in walk.packets():  # one camera's keypoints of one exposure
        pipeline.feed_keypoints(packet)
        for result in pipeline.poll():  # usually empty; one result as soon as all cameras of a frame are in
            if result.causal is not None and result.status == Status.OK:
                truth = walk.truth.keypoints[frame]
                errors_mm.append(1e3 * np.median(np.linalg.norm(result.causal.keypoints - truth, axis=1)))
                if frame % 15 == 0:
                    left, right = np.degrees(result.causal.position[knees])
                    print(
                        f"{result.stamp_ns * 1e-9:5.2f} s  knee left {left:5.1f}, right {right:5.1f} deg  "
                        f"keypoints {errors_mm[-1]:4.1f} mm from the truth  latency {1e3 * result.latency_s:.1f} ms"
                    )
            frame += 1
    late = [r.smoothed for r in pipeline.flush() if r.smoothed is not None]  # what the smoother's lag still held back
    print(f"{len(errors_mm)} of {frame} frames tracked, {len(late)} more smoothed ones at the end; median error {np.median(errors_mm):.1f} mm.")


if __name__ == "__main__":
    main()
