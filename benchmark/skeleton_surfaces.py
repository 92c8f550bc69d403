"""Accuracy and time of `skeleton` on surfaces whose joint centres are known: random people with flesh in random poses (biomech_fit.sim.surface).

    python benchmark/skeleton_surfaces.py [--people 20] [--poses 5] [--seed 0] [-o figures.json]

Every mesh is fitted by itself, then each person's meshes together as one body. Errors are against MuJoCo C on the true body, which differs from the fitted
one in more than the fit's parameters: all axes of pelvis, trunk and head, hands, displaced joints (2 mm per axis), thickness of the flesh.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from biomech_fit.core.segments import segment_lengths
from biomech_fit.formats.atomic import write_text
from biomech_fit.formats.mesh import Mesh
from biomech_fit.sim.surface import BodySurface, Person, pose_surface, random_person, random_poses, template
from biomech_fit.stream.device import use_compilation_cache
from biomech_fit.surface.scan import Scan, prepare
from biomech_fit.surface.skeleton import Skeleton
from biomech_fit.surface.skeleton_fit import SkeletonFitter

LIMBS = tuple(f"{side}{joint}" for side in "RL" for joint in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow", "Wrist"))
"""Joint centres in the narrower sense; the model reports more points (toes, head ...)."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--people", type=int, default=20)
    arguments.add_argument("--poses", type=int, default=5)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("-o", "--out", type=Path, help="write the figures as JSON")
    args = arguments.parse_args()
    figures = measure(args.people, args.poses, args.seed)
    print(table(figures))
    if args.out:
        write_text(args.out, json.dumps(figures, indent=2) + "\n")


def measure(people: int, poses: int, seed: int) -> dict[str, Any]:
    """The figures of meshes fitted one by one and of each person's together."""
    use_compilation_cache()
    skin = template()
    fitter = SkeletonFitter(skin.body, skin.parts)
    rng = np.random.default_rng(seed)
    single, together = _Errors(fitter), _Errors(fitter)
    first_s = None
    for number in range(people):
        person = random_person(rng)
        surfaces = [pose_surface(person, qpos) for qpos in random_poses(rng, poses)]
        meshes = [Mesh(f"person_{number}_{i}", surface.vertices, surface.faces) for i, surface in enumerate(surfaces)]
        for mesh, surface in zip(meshes, surfaces, strict=True):
            wall_s = single.add(person, [mesh], [surface])
            first_s = wall_s if first_s is None else first_s
        together.add(person, meshes, surfaces)
    single.wall_s.pop(0)
    single.cpu_s.pop(0)
    return {"people": people, "poses": poses, "seed": seed, "first_s": first_s, "single": single.figures(), "together": together.figures()}


class _Errors:
    """Errors of some fits."""

    def __init__(self, fitter: SkeletonFitter) -> None:
        self.fitter, self.body = fitter, fitter.body
        self.centres_mm: list[np.ndarray] = []
        self.std_mm: list[np.ndarray] = []
        self.lengths: list[np.ndarray] = []
        self.outside: list[int] = []
        self.wall_s: list[float] = []
        self.cpu_s: list[float] = []

    def add(self, person: Person, meshes: list[Mesh], surfaces: list[BodySurface]) -> float:
        """Fit and compare; gives seconds per mesh."""
        began, began_cpu = time.perf_counter(), time.process_time()
        scans: list[Scan] = [prepare(mesh, template().table) for mesh in meshes]
        fit = self.fitter.fit(scans)
        skeleton = Skeleton(self.body, self.fitter.parts, fit)
        self.wall_s.append((time.perf_counter() - began) / len(meshes))
        self.cpu_s.append((time.process_time() - began_cpu) / len(meshes))
        for f, surface in enumerate(surfaces):
            self.centres_mm.append(1000 * np.linalg.norm(skeleton.joint_centres[f] - surface.joint_centres, axis=1))
            self.std_mm.append(1000 * fit.joint_centre_std_m)
            vertices, _ = skeleton.bone_mesh(f)
            self.outside.append(int(np.sum(~fit.skins[f].inside(vertices))))
        self.lengths.append(np.array(list(segment_lengths(self.body, fit.scales).values())) / person.subject.segment_lengths_m - 1)
        return self.wall_s[-1]

    def figures(self) -> dict[str, Any]:
        names = self.body.joint_centre_names
        error, lengths = np.array(self.centres_mm), 100 * np.array(self.lengths)
        limbs = [names.index(name) for name in LIMBS]
        percent = np.abs(lengths)
        here = error[:, limbs]
        return {
            "meshes": len(error),
            "joint_centres_mm": {"median": float(np.median(here)), "p95": float(np.percentile(here, 95)), "max": float(here.max())},
            "all_points_median_mm": float(np.median(error)),
            "median_mm": {name: float(np.median(error[:, k])) for k, name in enumerate(names)},
            "error_per_std": float(np.sqrt(np.mean(here**2 / 3 / np.array(self.std_mm)[:, limbs] ** 2))),
            "segment_lengths_percent": {
                "median": float(np.median(percent)),
                "p95": float(np.percentile(percent, 95)),
                "within_3": float(100 * np.mean(percent <= 3)),
            },
            "segments": {
                name: {"median": float(np.median(percent[:, k])), "p95": float(np.percentile(percent[:, k], 95)), "bias": float(np.mean(lengths[:, k]))}
                for k, name in enumerate(self.body.segments)
            },
            "bone_vertices_outside": int(np.sum(self.outside)),
            "meshes_with_bones_outside": int(np.sum(np.array(self.outside) > 0)),
            "seconds_per_mesh": {"median": float(np.median(self.wall_s)), "max": float(np.max(self.wall_s)), "cpu": float(np.median(self.cpu_s))},
        }


def table(figures: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [f"{figures['people']} people, {figures['poses']} poses each; the first fit, with compilation: {figures['first_s']:.1f} s"]
    for kind in ("single", "together"):
        f = figures[kind]
        c, s, t = f["joint_centres_mm"], f["segment_lengths_percent"], f["seconds_per_mesh"]
        lines += [
            f"{kind}: {f['meshes']} meshes, {t['median']:.2f} s a mesh (at most {t['max']:.2f}; {t['cpu']:.2f} s on a core)",
            f"  joint centres: median {c['median']:.1f} mm, 95 % {c['p95']:.1f}, max {c['max']:.1f}; error over stated std {f['error_per_std']:.2f}",
            f"  segment lengths: median {s['median']:.1f} %, 95 % {s['p95']:.1f}; {s['within_3']:.0f} % of them within 3 %",
            f"  bone vertices outside the skin: {f['bone_vertices_outside']}, in {f['meshes_with_bones_outside']} meshes",
            "  joint | median mm: " + ", ".join(f"{name} {value:.1f}" for name, value in f["median_mm"].items()),
            "  segment | median, p95, bias %: " + ", ".join(f"{name} {v['median']:.1f} {v['p95']:.1f} {v['bias']:+.1f}" for name, v in f["segments"].items()),
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
