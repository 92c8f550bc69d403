"""How far a wrong calibration displaces the whole rig: what no pipeline can find out from pictures alone, and so a floor of every raw point error.

    python benchmark/placement_bound.py [--seeds 0 1 2 3 4 5]

The errors of all cameras of a perturbed rig have a common part: shift, turn and stretch of the rig as a whole, which change no picture. The best guess of it,
in the metric of the errors' own sizes, is zero; so this part stays in every pipeline's points. Printed is the displacement that it gives to the legs'
keypoints (median over the walk, then over the six walks).
"""

from __future__ import annotations

import argparse

import numpy as np
import rigs
from recordings import CONDITIONS, person_of, rng_of, times_of
from scipy.spatial.transform import Rotation
from scores import LEGS, SKIP_S
from walks import subject_names

from biomech_fit.config.fit import RefineConfig
from biomech_fit.core.gauge import common_motions
from biomech_fit.formats.keypoint_sets import load_keypoint_set


def displacement_mm(subject: str, condition: str, seed: int) -> float:
    """Median over the walk's frames and the legs' keypoints."""
    names = load_keypoint_set("halpe_26").names
    walk = person_of(subject, names, seed).walk
    placed = rigs.RIGS[CONDITIONS[condition].rig](walk.points(times_of(walk)))
    given = rigs.perturbed(placed.cameras, rng_of(seed, subject, "calibration"))
    refine = RefineConfig()
    own = np.r_[np.full(3, np.deg2rad(refine.camera_rotation_std_deg) ** -2), np.full(3, refine.camera_translation_std_m**-2), 1.0]
    weight = np.tile(own, len(given))
    errors = np.concatenate(
        [np.r_[Rotation.from_matrix(t.rotation @ g.rotation.T).as_rotvec(), t.centre - g.centre, 0.0] for g, t in zip(given, placed.cameras, strict=True)]
    )
    motions, centre = common_motions(given)
    shift = np.linalg.solve(motions.T @ (motions * weight[:, None]), motions.T @ (weight * errors))
    legs = [names.index(name) for name in LEGS]
    points = placed.place(walk.points(times_of(walk)[round(60 * SKIP_S) :]))[:, legs].reshape(-1, 3)
    arm = points[np.isfinite(points).all(1)] - centre
    moved = shift[:3] + np.cross(shift[3:6], arm) + shift[6] * arm
    return 1e3 * float(np.median(np.linalg.norm(moved, axis=1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5])
    args = parser.parse_args()
    for condition in (name for name, c in CONDITIONS.items() if c.perturbed):
        medians = [float(np.median([displacement_mm(subject, condition, seed) for subject in subject_names()])) for seed in args.seeds]
        print(f"{CONDITIONS[condition].title}: " + ", ".join(f"seed {seed} {value:.1f} mm" for seed, value in zip(args.seeds, medians, strict=True)))


if __name__ == "__main__":
    main()
