"""The skeleton over time: the body from its right side at some moments, side by side."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from biomech_fit.core.sides import side_of
from biomech_fit.report.result import TrackResult
from biomech_fit.report.style import LEFT, MIDDLE, RIGHT, lighter, new_figure

MOMENTS = 8
_HEAD = ("Neck", "Head")
_SHOWN_WIDTH = {"foot": 4.0, "forearm": 4.5, "upper": 5.5, "shank": 6.0, "thigh": 7.5, "trunk": 9.0}
"""Points, by the first word of a segment's name; others are thin."""


def strip(result: TrackResult) -> Figure | None:
    """The body at `MOMENTS` moments of equal distance in time, each seen from its own right side; its way is not drawn, only its height over the floor."""
    names, joints = result.joint_centre_names, result.smoothed.joint_centres
    there = np.flatnonzero(np.isfinite(joints).all((1, 2)) if joints.size else [])
    if not len(there) or not result.segments or not {"LHip", "RHip"} <= set(names):
        return None
    wanted = np.linspace(there[0], there[-1], MOMENTS)
    frames = [int(there[np.argmin(np.abs(there - w))]) for w in wanted]
    views = [side_view(joints[t], names) for t in frames]
    floor = float(np.nanmin(joints[..., 2]))
    reach = max(float(np.abs(view[:, 0]).max()) for view in views) + 0.08
    figure = new_figure(12, 12 / (MOMENTS * 2 * reach) * (max(float(view[:, 1].max()) for view in views) - floor + 0.32) + 0.35)
    axis = figure.subplots()
    for i, (frame, view) in enumerate(zip(frames, views, strict=True)):
        _body(axis, result, view + np.array([2 * reach * i, -floor]))
        axis.text(2 * reach * i, -0.07, f"{result.time_s[frame]:.2f} s", ha="center", va="top", color=MIDDLE)
    axis.axhline(0, color="#b8b8b8", lw=1.2, zorder=0)
    axis.set_xlim(-reach, 2 * reach * (MOMENTS - 0.5))
    axis.set_ylim(-0.2, max(float(view[:, 1].max()) for view in views) - floor + 0.12)
    axis.set_aspect("equal")
    axis.axis("off")
    handles = [Line2D([], [], color=c, lw=4, solid_capstyle="round", label=label) for c, label in ((RIGHT, "right"), (lighter(LEFT, 0.35), "left"))]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure


def side_view(points: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """(J, 2) m: forward from the hips' middle, and height, of points (J, 3) as somebody sees them who stands on the body's right."""
    left, right = points[names.index("LHip")], points[names.index("RHip")]
    across = (left - right)[:2] / max(float(np.linalg.norm((left - right)[:2])), 1e-6)
    forward = np.array([across[1], -across[0]])
    return np.column_stack([(points[:, :2] - (left + right)[:2] / 2) @ forward, points[:, 2]])


def _body(axis, result: TrackResult, view: np.ndarray) -> None:
    where = {name: view[i] for i, name in enumerate(result.joint_centre_names)}
    for segment, (a, b) in result.segments.items():
        if (a, b) == _HEAD:
            continue
        side = side_of(segment)
        colour = {"l": lighter(LEFT, 0.35), "r": RIGHT}.get(side, MIDDLE)
        width = _SHOWN_WIDTH.get(segment.split("_")[0], 2.5)
        points = np.array([where[a], where[b]])
        # The near side hides the trunk, and the trunk the far one; white edges keep them apart.
        order = {"l": 2, "r": 6}.get(side, 4)
        axis.plot(*points.T, color="white", lw=width + 2, solid_capstyle="round", zorder=order)
        axis.plot(*points.T, color=colour, lw=width, solid_capstyle="round", zorder=order + 1)
    if all(name in where for name in _HEAD):
        neck, top = (where[name] for name in _HEAD)
        axis.plot(*np.array([where.get("MidShoulder", neck), neck]).T, color=MIDDLE, lw=5, solid_capstyle="round", zorder=4)
        axis.add_patch(Circle((neck + top) / 2, 0.52 * float(np.linalg.norm(top - neck)), fc=lighter(MIDDLE, 0.15), ec="white", lw=1, zorder=5))
