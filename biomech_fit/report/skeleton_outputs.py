"""What `skeleton` leaves behind: the person's body, the posed skeleton, landmarks, joint centres, pictures and a summary (docs/skeleton.md)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biomech_fit.core.segments import segment_length_std, segment_lengths
from biomech_fit.formats.atomic import write_text
from biomech_fit.formats.mesh import write_mesh
from biomech_fit.formats.subject import Scale, Subject, write_subject
from biomech_fit.report.figures import json_ready
from biomech_fit.report.skeleton_pictures import write_skeleton_pictures
from biomech_fit.surface.scan import body_axes, file_up
from biomech_fit.surface.skeleton import Skeleton

LANDMARK_COLUMNS = ("name", "x", "y", "z", "vertex", "source", "tissue_mm", "bone_x", "bone_y", "bone_z", "mesh", "note")
CENTRE_COLUMNS = ("name", "x", "y", "z", "std_mm", "method", "mesh")
SHIFTED_MM = 5.0
"""A bone that was moved further than that is named in the summary."""


def write_skeleton_outputs(out: Path, skeleton: Skeleton, *, sex: str | None, wall_s: float, version: str, pictures: bool = True) -> dict[str, Any]:
    """Writes everything into the folder `out` and returns the summary."""
    fit, body = skeleton.fit, skeleton.body
    up, up_name = file_up(fit.scans[0].skin)
    write_subject(out / "subject.yaml", subject_of(skeleton))
    write_text(out / "skeleton.xml", skeleton.mjcf(up))
    write_text(out / "landmarks.csv", _landmarks(skeleton))
    write_text(out / "joint_centres.csv", _joint_centres(skeleton))
    write_text(out / "joint_angles.csv", _joint_angles(skeleton))
    meshes = [skeleton.bone_mesh(f) for f in range(len(fit.scans))]
    write_mesh(out / "skeleton.ply", *meshes[0])
    if len(meshes) > 1:
        for f, (scan, mesh) in enumerate(zip(fit.scans, meshes, strict=True)):
            write_mesh(out / "skeletons" / f"{f:03d}_{scan.name}.ply", *mesh)
    if pictures:
        scan = fit.scans[0]
        write_skeleton_pictures(out / "pictures", (scan.vertices, scan.faces), meshes[0], np.array(list(scan.skin.values())), body_axes(scan.bone), scan.name)
    lengths, length_std = segment_lengths(body, fit.scales), segment_length_std(body, fit.scales, fit.scale_covariance)
    summary = {
        "meshes": [_mesh_summary(skeleton, f) for f in range(len(fit.scans))],
        "topology": fit.scans[0].table.title,
        "vertices": fit.scans[0].table.vertex_count,
        "units": fit.scans[0].unit,
        "frame": "the mesh's own axes, metres",
        "up": up_name,
        "sex": sex or "unknown (means of both)",
        "stature_m": float(np.mean([scan.stature_m for scan in fit.scans])),
        "segment_lengths_m": lengths,
        "segment_length_std_m": length_std,
        "joint_centre_std_mm": dict(zip(body.joint_centre_names, (1000 * fit.joint_centre_std_m).tolist(), strict=True)),
        "scales": {name: 1 + float(s) for name, s in zip(body.scale_names, fit.scales, strict=True)},
        "notices": [notice for scan in fit.scans for notice in scan.notices],
        "wall_s": wall_s,
        "version": version,
    }
    write_text(out / "summary.json", json.dumps(json_ready(summary), indent=2) + "\n")
    return summary


def subject_of(skeleton: Skeleton) -> Subject:
    """The person's body for `track --subject`: sizes with their uncertainty, and nothing of a detector."""
    fit, body = skeleton.fit, skeleton.body
    std = np.sqrt(np.diag(fit.scale_covariance))
    scales = {name: Scale(float(fit.scales[k]), float(std[k])) for k, name in enumerate(body.scale_names)}
    return Subject(
        fit.scans[0].name, body.name, scales, segment_lengths_m=segment_lengths(body, fit.scales), correlation=fit.scale_covariance / np.outer(std, std)
    )


def _mesh_summary(skeleton: Skeleton, f: int) -> dict[str, Any]:
    scan, chains = skeleton.fit.scans[f], skeleton.chains[f]
    centres = skeleton.fit.estimated[f]
    hips = {
        method: float(np.linalg.norm(centres["hip_r"].methods[method] - centres["hip_l"].methods[method]) * 1000) for method in centres["hip_r"].methods
    }
    place = dict(zip(skeleton.body.joint_centre_names, skeleton.joint_centres[f], strict=True))
    return {
        "name": scan.name,
        "stature_m": scan.stature_m,
        "landmark_rms_mm": float(skeleton.fit.landmark_rms_m[f] * 1000),
        "hip_distance_mm": {"fitted": float(np.linalg.norm(place["RHip"] - place["LHip"]) * 1000), **hips},
        "hip_spread_mm": {side: centres[f"hip_{side}"].spread_m * 1000 for side in "rl"},
        "bone_depth_mm": min(chain.depth_m for chain in chains) * 1000,
        "bones_outside": [chain.name for chain in chains if chain.depth_m < 0],
        "bones_moved_mm": {chain.name: chain.moved_m * 1000 for chain in chains if chain.moved_m * 1000 > SHIFTED_MM},
    }


def _landmarks(skeleton: Skeleton) -> str:
    rows = []
    for scan in skeleton.fit.scans:
        for entry in scan.table.landmarks:
            vertex, skin, bone = "+".join(map(str, entry.vertices)), _metres(scan.skin[entry.name]), _metres(scan.bone[entry.name])
            rows.append([entry.name, *skin, vertex, entry.source, f"{1000 * entry.tissue_m:g}", *bone, scan.name, entry.note])
    return _csv(LANDMARK_COLUMNS, rows)


def _joint_centres(skeleton: Skeleton) -> str:
    """Those of the fitted body first, then what each method says from the landmarks alone."""
    rows = []
    for f, scan in enumerate(skeleton.fit.scans):
        for name, point, std in zip(skeleton.body.joint_centre_names, skeleton.joint_centres[f], skeleton.fit.joint_centre_std_m, strict=True):
            rows.append([name, *_metres(point), f"{1000 * std:.1f}", "fitted body", scan.name])
        for name, centre in skeleton.fit.estimated[f].items():
            rows.append([name, *_metres(centre.position), f"{1000 * centre.std_m:.1f}", "mean of methods" if centre.methods else "landmarks", scan.name])
            rows += [[name, *_metres(point), "", method, scan.name] for method, point in centre.methods.items()]
    return _csv(CENTRE_COLUMNS, rows)


def _joint_angles(skeleton: Skeleton) -> str:
    names = skeleton.body.coordinate_names[6:]
    rows = [[scan.name, *(f"{a:.2f}" for a in np.rad2deg(angles))] for scan, angles in zip(skeleton.fit.scans, skeleton.fit.angles, strict=True)]
    return _csv(("mesh", *(f"{name}_deg" for name in names)), rows)


def _metres(point: np.ndarray) -> list[str]:
    return [f"{x:.5f}" for x in point]


def _csv(columns: Sequence[str], rows: list[list[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
