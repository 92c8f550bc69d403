"""Pictures in space: reprojected skeletons, and the 3D view of body and cameras."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from biomech_fit.core.camera import Camera
from biomech_fit.report.result import CONFIDENCE_THRESHOLD, TrackResult
from biomech_fit.report.style import BEFORE, CAMERA_COLOURS, MIDDLE, lighter, new_figure, side_colour

CAMERAS_PER_FIGURE = 4
_MOMENTS = (0.2, 0.5, 0.8)


def reprojections(result: TrackResult) -> list[Figure]:
    """Reprojected skeleton over the detected keypoints, three moments per camera (rows), four cameras per figure, cropped round the person."""
    figures = []
    shown = [c for c in range(len(result.cameras_loaded)) if (result.observed_confidence[:, c] >= CONFIDENCE_THRESHOLD).any()]
    for start in range(0, len(shown), CAMERAS_PER_FIGURE):
        group = shown[start : start + CAMERAS_PER_FIGURE]
        figure = new_figure(11, 3.1 * len(group) + 0.5)
        axes = figure.subplots(len(group), len(_MOMENTS), squeeze=False)
        for row, camera in zip(axes, group, strict=True):
            for axis, frame in zip(row, _moments(result, camera), strict=True):
                _overlay(axis, result, camera, frame)
        handles = [
            Line2D([], [], marker="o", ls="", mfc="#f2b134", mec="black", mew=0.5, ms=6, label=f"detected, confidence ≥ {CONFIDENCE_THRESHOLD}"),
            Line2D([], [], marker="o", ls="", mfc="white", mec="#b0b0b0", ms=5, label="detected, less sure"),
            Line2D([], [], color=side_colour("LHip"), lw=2, label="fitted body, left"),
            Line2D([], [], color=side_colour("RHip"), lw=2, label="right"),
            Line2D([], [], color=BEFORE, lw=1.2, ls="--", label="through the loaded cameras, best placed"),
            Line2D([], [], color="#c05ac0", lw=1, label="error"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=6)
        figures.append(figure)
    return figures


def _moments(result: TrackResult, camera: int) -> list[int]:
    """Frames near the wanted moments that show the most of the person."""
    good = (result.observed_confidence[:, camera] >= CONFIDENCE_THRESHOLD) & np.isfinite(result.reprojected_xy[:, camera, :, 0])
    count = good.sum(1)
    frames = len(count)
    chosen = []
    for share in _MOMENTS:
        low, high = int((share - 0.1) * frames), max(int((share + 0.1) * frames), int((share - 0.1) * frames) + 1)
        chosen.append(low + int(np.argmax(count[low:high])))
    return chosen


def _overlay(axis, result: TrackResult, camera: int, frame: int) -> None:
    model = result.cameras_refined[camera]
    observed, fitted = result.observed_xy[frame, camera], result.reprojected_xy[frame, camera]
    before, confidence = result.reprojected_before_xy[frame, camera], result.observed_confidence[frame, camera]
    sure = (confidence >= CONFIDENCE_THRESHOLD) & np.isfinite(observed).all(1)
    unsure = (confidence > 0) & ~sure & np.isfinite(observed).all(1)
    names = result.keypoint_names
    for a, b in result.keypoint_set.edges:
        axis.plot(before[[a, b], 0], before[[a, b], 1], color=BEFORE, lw=1.0, ls="--", zorder=1)
        axis.plot(fitted[[a, b], 0], fitted[[a, b], 1], color=side_colour(names[a], names[b]), lw=2.2, alpha=0.9, zorder=2, solid_capstyle="round")
    if not result.keypoint_set.edges:
        axis.plot(fitted[:, 0], fitted[:, 1], "+", color=MIDDLE, zorder=2)
    pairs = sure & np.isfinite(fitted).all(1)
    for k in np.flatnonzero(pairs):
        axis.plot([observed[k, 0], fitted[k, 0]], [observed[k, 1], fitted[k, 1]], color="#c05ac0", lw=1.2, zorder=3)
    axis.scatter(observed[unsure, 0], observed[unsure, 1], s=12, facecolor="white", edgecolor="#b0b0b0", zorder=4)
    axis.scatter(observed[sure, 0], observed[sure, 1], s=15, facecolor="#f2b134", edgecolor="black", linewidth=0.5, zorder=5)
    axis.grid(False)
    axis.set_facecolor("white")
    axis.add_patch(Rectangle((0, 0), model.width, model.height, fc="#f4f4f1", ec="#555555", lw=0.8, zorder=0))
    points = np.concatenate([observed[sure], fitted[np.isfinite(fitted).all(1)]])
    if len(points):
        # The body through the loaded camera is shown whole, unless it is so far off that the person would become small.
        far = before[np.isfinite(before).all(1)]
        if len(far) and np.linalg.norm(far.mean(0) - points.mean(0)) < 0.5 * np.ptp(points, axis=0).max():
            points = np.concatenate([points, far])
        low, high = points.min(0), points.max(0)
        centre, half = (low + high) / 2, 0.58 * max(*(high - low), 60)
        axis.set_xlim(centre[0] - half * 1.25, centre[0] + half * 1.25)
        axis.set_ylim(centre[1] + half, centre[1] - half)
    else:
        axis.set_xlim(0, model.width)
        axis.set_ylim(model.height, 0)
    axis.set_aspect("equal")
    axis.tick_params(labelsize=7)
    error = result.errors_px()[frame, camera]
    nothing = ", no keypoints" if not sure.any() else ", no fitted body"
    text = f", median {np.nanmedian(error):.1f} px" if np.isfinite(error).any() else nothing
    axis.set_title(f"{model.name}, {result.time_s[frame]:.2f} s{text}")


def scene(result: TrackResult) -> Figure | None:
    """Cameras, the way of the body, and its skeleton at some moments, seen obliquely; the world's axes at the origin."""
    bones = [(result.joint_centre_names.index(a), result.joint_centre_names.index(b)) for a, b in result.segments.values()]
    joints, names = result.smoothed.joint_centres, result.joint_centre_names
    bones += [(names.index(a), names.index(b)) for a, b in (("MidShoulder", "Neck"),) if bones and a in names and b in names]
    if not bones:
        bones, joints, names = list(result.keypoint_set.edges), result.smoothed.keypoints, result.keypoint_names
    tracked = np.flatnonzero(np.isfinite(joints).all((1, 2)) if len(joints) else [])
    if not len(tracked):
        tracked = np.flatnonzero(np.isfinite(joints).any((1, 2))) if len(joints) else tracked
    if not len(tracked) and not result.cameras_refined:
        return None
    figure = Figure(figsize=(10, 6.2))
    axis: Any = figure.add_axes((0.0, 0.0, 1.0, 1.0), projection="3d", computed_zorder=False)
    corners = [c.centre for c in result.cameras_refined]
    for share in np.linspace(0, 1, 5) if len(tracked) else ():
        frame = tracked[round(share * (len(tracked) - 1))]
        fade = 0.15 + 0.6 * (1 - share)
        for a, b in bones:
            colour = side_colour(names[a], names[b])
            axis.plot(*joints[frame, [a, b]].T, color=lighter(colour, fade if share < 1 else 0), lw=1.2 if share < 1 else 2.4, zorder=3 + share)
        corners += [np.nanmin(joints[frame], 0), np.nanmax(joints[frame], 0)]
    if len(tracked):
        way = np.nanmean(joints[tracked], 1)
        axis.plot(way[:, 0], way[:, 1], np.full(len(way), np.nanmin(joints[tracked][..., 2])), color=MIDDLE, lw=1, ls=":", zorder=2)
    span = np.array([*corners, np.zeros(3)])
    size = 0.09 * float(np.max(np.ptp(span, axis=0)))
    for c, (loaded, refined) in enumerate(zip(result.cameras_loaded, result.cameras_refined, strict=True)):
        _frustum(axis, loaded, size, BEFORE, 0.8)
        _frustum(axis, refined, size, CAMERA_COLOURS[c % len(CAMERA_COLOURS)], 1.4)
        x, y, z = refined.centre
        axis.text(x, y, z + 0.9 * size, refined.name, fontsize=8, ha="center", color=CAMERA_COLOURS[c % len(CAMERA_COLOURS)], zorder=6)
    for k, (colour, letter) in enumerate(zip(("#c2352b", "#1b7f4b", "#1f5fa8"), "xyz", strict=True)):
        tip = np.eye(3)[k] * 0.8 * size * 2
        axis.plot(*np.stack([np.zeros(3), tip], 1), color=colour, lw=2, zorder=2)
        axis.text(*(1.15 * tip), letter, color=colour, fontsize=9)
    low, high = span.min(0) - size, span.max(0) + size
    low[2] = min(span[:, 2].min(), 0.0)  # the floor is where the person stands
    axis.set_xlim(low[0], high[0])
    axis.set_ylim(low[1], high[1])
    axis.set_zlim(low[2], high[2])
    axis.set_box_aspect(high - low, zoom=1.25)
    axis.set_xlabel("x (m)")
    axis.set_ylabel("y (m)")
    axis.set_zlabel("z (m)")
    axis.view_init(elev=24, azim=-58)
    axis.legend(
        handles=[
            Line2D([], [], color=MIDDLE, lw=2.4, label="body at the end, earlier ones paler"),
            Line2D([], [], color=MIDDLE, lw=1, ls=":", label="its way on the floor"),
            Line2D([], [], color=BEFORE, lw=1, label="loaded cameras"),
            Line2D([], [], color=CAMERA_COLOURS[0], lw=1.4, label="refined cameras"),
        ],
        loc="upper left",
        bbox_to_anchor=(0.02, 0.98),
    )
    return figure


def _frustum(axis, camera: Camera, size: float, colour: str, width: float) -> None:
    centre = camera.centre
    fx, fy = camera.matrix[0, 0], camera.matrix[1, 1]
    cx, cy = camera.matrix[0, 2], camera.matrix[1, 2]
    corners = np.array([[(u - cx) / fx, (v - cy) / fy, 1.0] for u, v in ((0, 0), (camera.width, 0), (camera.width, camera.height), (0, camera.height))])
    corners *= size / max(1.0, float(np.linalg.norm(corners, axis=1).max()))
    world = corners @ camera.rotation + centre
    for corner in world:
        axis.plot(*np.stack([centre, corner], 1), color=colour, lw=width, zorder=5)
    axis.plot(*np.concatenate([world, world[:1]]).T, color=colour, lw=width, zorder=5)
