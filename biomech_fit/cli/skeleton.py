"""`biomech-fit skeleton`: a body surface to the scaled, posed skeleton inside it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from biomech_fit.formats.folder import make_folder


def add_parser(subparsers: Any) -> None:
    """Adds the sub-command."""
    parser = subparsers.add_parser(
        "skeleton",
        help="the skeleton inside a body surface",
        description="Puts the built-in body into a surface of SMPL, SMPL+H, STAR or SMPL-X topology in any pose: landmarks, joint centres, size and pose. "
        "Several meshes are one person in several poses (docs/skeleton.md).",
    )
    parser.add_argument("mesh", metavar="MESH", type=Path, nargs="+", help=".ply or .obj files, or a folder of them")
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help="folder for the results")
    parser.add_argument("--sex", choices=("female", "male"), help="for the regressions that differ by sex (default: the mean of both)")
    parser.add_argument("--unit", choices=("m", "cm", "mm", "in"), help="unit of the meshes (default: m, cm or mm by the body's size)")
    parser.add_argument("--landmarks", metavar="T.yaml", type=Path, help="landmark table of another topology (config/surface/smpl.yaml is an example)")
    parser.add_argument("--no-pictures", action="store_true", help="leave out the pictures")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fits and writes OUT."""
    from biomech_fit.config.version import version
    from biomech_fit.core.errors import InputError
    from biomech_fit.formats.keypoint_sets import load_keypoint_set
    from biomech_fit.formats.landmark_table import read_landmark_table, table_for
    from biomech_fit.formats.mesh import mesh_files, read_mesh
    from biomech_fit.formats.model import load_body_model
    from biomech_fit.formats.surface_body import read_surface_body
    from biomech_fit.report.skeleton_outputs import write_skeleton_outputs
    from biomech_fit.stream.device import use_compilation_cache
    from biomech_fit.surface.scan import prepare
    from biomech_fit.surface.skeleton import Skeleton
    from biomech_fit.surface.skeleton_fit import SkeletonFitter

    own = read_landmark_table(args.landmarks) if args.landmarks else None
    scans = []
    for path in mesh_files(args.mesh):
        mesh = read_mesh(path)
        table = table_for(len(mesh.vertices), own)
        if scans and table is not scans[0].table:
            raise InputError(f"'{path}' is of {table.title}, the first mesh of {scans[0].table.title}; meshes of one person must be of one topology.")
        scans.append(prepare(mesh, table, args.unit))
    make_folder(args.out)
    use_compilation_cache()
    began = time.perf_counter()
    # The keypoint set does not matter here: none is fitted.
    body = load_body_model(None, load_keypoint_set("halpe_26"))
    parts = read_surface_body(body)
    skeleton = Skeleton(body, parts, SkeletonFitter(body, parts).fit(scans, args.sex))
    wall_s = time.perf_counter() - began
    summary = write_skeleton_outputs(args.out, skeleton, sex=args.sex, wall_s=wall_s, version=version(), pictures=not args.no_pictures)
    for notice in summary["notices"]:
        print(notice, file=sys.stderr)
    _say(args.out, summary, "" if args.no_pictures else "pictures/, ")
    return 0


def _say(out: Path, summary: dict[str, Any], pictures: str) -> None:
    """A few lines on what was found."""
    first, lengths = summary["meshes"][0], summary["segment_lengths_m"]
    count = len(summary["meshes"])
    rms = max(mesh["landmark_rms_mm"] for mesh in summary["meshes"])
    print(f"{count} {'mesh' if count == 1 else 'meshes'} of {summary['topology']}, about {summary['stature_m']:.2f} m tall; {summary['wall_s']:.1f} s.")
    print(f"Thigh {lengths['thigh_r']:.3f} m, shank {lengths['shank_r']:.3f} m, hip centres {first['hip_distance_mm']['fitted']:.0f} mm apart.")
    outside = sorted({name for mesh in summary["meshes"] for name in mesh["bones_outside"]})
    print(f"Landmarks within {rms:.0f} mm RMS; {'bones outside the skin: ' + ', '.join(outside) if outside else 'all bones inside the skin'}.")
    print(f"Written: {out} (subject.yaml, skeleton.xml, skeleton.ply, landmarks.csv, joint_centres.csv, {pictures}summary.json)")
