"""The picture of docs/skeleton.md: the skeleton found in a surface of our own, front and side. `python docs/images/make_skeleton_picture.py`"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from biomech_fit.formats.mesh import Mesh
from biomech_fit.report.skeleton_pictures import write_skeleton_pictures
from biomech_fit.sim.surface import pose_surface, random_person, random_poses, template
from biomech_fit.surface.scan import body_axes, prepare
from biomech_fit.surface.skeleton import Skeleton
from biomech_fit.surface.skeleton_fit import SkeletonFitter


def main() -> None:
    skin, rng = template(), np.random.default_rng(4)
    surface = pose_surface(random_person(rng), random_poses(rng, 1)[0])
    scan = prepare(Mesh("test body", surface.vertices, surface.faces), skin.table)
    skeleton = Skeleton(skin.body, skin.parts, SkeletonFitter(skin.body, skin.parts).fit([scan]))
    folder = Path(__file__).parent / "skeleton"
    points = np.array(list(scan.skin.values()))
    write_skeleton_pictures(folder, (scan.vertices, scan.faces), skeleton.bone_mesh(0), points, body_axes(scan.bone), "test body")


if __name__ == "__main__":
    main()
