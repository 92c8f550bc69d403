"""Fit another body model: dm_control's CMU humanoid (62 degrees of freedom), or an MJCF of your own with a YAML beside it (docs/models.md).

    python examples/03_foreign_model.py [MODEL]
"""

import importlib.util
import sys

import numpy as np

from biomech_fit.config import FitConfig
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import simulate
from biomech_fit.stream.pipeline import FitPipeline


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "cmu_humanoid"
    if model == "cmu_humanoid" and importlib.util.find_spec("dm_control") is None:
        print("Skipped: the CMU humanoid comes with dm_control (pip install dm_control), which is not installed here.")
        return
    keypoint_set = load_keypoint_set("body_25")
    body = load_body_model(model, keypoint_set)
    known = sum(body.keypoint_body >= 0)
    print(f"{body.name}: {len(body.coordinate_names)} coordinates, {len(body.scale_names)} scales, {known} of {len(keypoint_set)} keypoints.")

    # The person is simulated with our own skeleton; the other model has to fit him as it can.
    walk = simulate(SimConfig(seconds=1.5, cameras=4, keypoint_set="body_25"))
    pipeline = FitPipeline(body, walk.cameras, keypoint_set, FitConfig())
    pipeline.compile()
    results = []
    for packet in walk.packets():
        pipeline.feed_keypoints(packet)
        results += [r for r in pipeline.poll() if r.causal is not None]
    names = list(body.coordinate_names)
    last = results[-1].causal
    print(f"{len(results)} frames, reprojection RMS {last.reprojection_rms_px:.1f} px in the last one.")
    for name in [n for n in names if "knee" in n or "tibia" in n]:
        print(f"  {name}: {np.degrees(last.position[names.index(name)]):.1f} deg")
    for segment, length in pipeline.subject().segment_lengths_m.items():
        print(f"  {segment}: {1e3 * length:.0f} mm")


if __name__ == "__main__":
    main()
