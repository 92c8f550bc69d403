"""The evaluation as a table to read in a terminal."""

from __future__ import annotations

from typing import Any

import numpy as np


def evaluation_table(evaluation: dict[str, Any]) -> str:
    """Text with one column for the causal and one for the smoothed result; what was not compared is left out."""
    columns = [c for c in ("causal", "smoothed") if c in evaluation]
    rows: list[tuple[str, list[str]]] = []

    def add(label: str, *path: str, digits: int = 1, scale: float = 1.0) -> None:
        values = [_get(evaluation[c], path) for c in columns]
        if any(v is not None for v in values):
            rows.append((label, ["" if v is None else "n/a" if not np.isfinite(v) else f"{scale * v:.{digits}f}" for v in values]))

    add("frames compared", "frames", digits=0)
    for part, name in (("keypoints", "keypoint"), ("joint_centres", "joint centre")):
        for kind, text in (("raw_mm", "as is"), ("aligned_mm", "rigidly aligned")):
            for figure in ("median", "mean", "p95"):
                add(f"{name} error, {text}, {figure} (mm)", part, kind, figure)
    add("keypoints inside their 95 % interval (%)", "keypoints", "coverage95", "raw", digits=0, scale=100)
    add("  the same, aligned (%)", "keypoints", "coverage95", "aligned", digits=0, scale=100)
    for joint in ("hip_flexion", "knee_angle", "ankle_angle", "all"):
        label = "hip, knee, ankle flexion" if joint == "all" else joint.replace("_", " ")
        add(f"{label} RMSE (deg)", "flexion", joint, "rmse_deg", digits=2)
        add(f"{label} RMSE, offset removed (deg)", "flexion", joint, "rmse_offset_removed_deg", digits=2)
    add("all angles RMSE (deg)", "angles", "rmse_deg", digits=2)
    add("all angles RMSE, offset removed (deg)", "angles", "rmse_offset_removed_deg", digits=2)
    add("angles inside their 95 % interval (%)", "coordinate_coverage95", "raw", digits=0, scale=100)
    add("  the same, offset removed (%)", "coordinate_coverage95", "offset_removed", digits=0, scale=100)
    for key, text in (("loaded_", "loaded "), ("", "refined "), ("aligned_", "refined, aligned ")):
        add(f"{text}cameras, rotation error, median (deg)", "cameras", f"{key}rotation_deg", "median", digits=3)
        add(f"{text}cameras, centre error, median (mm)", "cameras", f"{key}centre_mm", "median")
    add("camera clock offset error, median (ms)", "cameras", "time_offset_ms", "median")
    add("segment length error, median (mm)", "segment_error_mm_median")
    for kind in ("initial_contact", "final_contact"):
        for figure, unit in (("matched", ""), ("missed", ""), ("false", ""), ("bias_ms", " (ms)"), ("sd_ms", " (ms)")):
            add(f"{kind.replace('_', ' ')}, {figure.replace('_ms', '')}{unit}", "events", kind, figure, digits=1 if unit else 0)
    width = max([len(label) for label, _ in rows] + [10])
    head = " " * width + "".join(f"{c:>11}" for c in columns)
    return "\n".join([head, *(f"{label:<{width}}" + "".join(f"{v:>11}" for v in values) for label, values in rows)])


def _get(content: Any, path: tuple[str, ...]) -> float | None:
    for key in path:
        if not isinstance(content, dict) or key not in content:
            return None
        content = content[key]
    return float(content)
