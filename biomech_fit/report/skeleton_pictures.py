"""The skeleton in its translucent skin, from the front and from the right side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colors
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from biomech_fit.formats.atomic import replacing
from biomech_fit.report.style import new_figure, styled

SKIN, BONE, LANDMARK = "#d9a184", "#efe6cf", "#c2352b"
SKIN_ALPHA = 0.22
DPI = 130


def skeleton_view(
    skin: tuple[np.ndarray, np.ndarray], bones: tuple[np.ndarray, np.ndarray], landmarks: np.ndarray, axes: np.ndarray, view: str, title: str
) -> Figure:
    """Skin and bones, each vertices (V, 3) m and outward faces (F, 3), and landmarks (L, 3), orthographic; `view` is front or side (the right one).

    `axes` (3, 3): rows forward, left, up of the body; the person faces the viewer of the front view.
    """
    forward, left, up = axes
    across, toward = {"front": (left, forward), "side": (forward, -left)}[view]
    frame = np.array([across, up, toward])
    centre = skin[0].mean(0)
    extent = np.ptp((skin[0] - centre) @ frame.T, axis=0)
    height = 8.0
    figure = new_figure(max(3.0, height * extent[0] / extent[1] + 0.8), height)
    axis = figure.subplots()
    for (vertices, faces), colour, alpha in ((bones, BONE, 1.0), (skin, SKIN, SKIN_ALPHA)):
        _draw(axis, (vertices - centre) @ frame.T, faces, colour, alpha)
    points = (landmarks - centre) @ frame.T
    axis.plot(points[:, 0], points[:, 1], ".", color=LANDMARK, markersize=3, zorder=5)
    axis.set_aspect("equal")
    axis.autoscale_view()
    axis.set_axis_off()
    axis.set_title(title)
    _scale_bar(axis)
    return figure


def write_skeleton_pictures(
    folder: Path, skin: tuple[np.ndarray, np.ndarray], bones: tuple[np.ndarray, np.ndarray], landmarks: np.ndarray, axes: np.ndarray, name: str
) -> None:
    """front.png and side.png in `folder`."""
    with styled():
        for view in ("front", "side"):
            figure = skeleton_view(skin, bones, landmarks, axes, view, f"{name}: {view}")
            with replacing(folder / f"{view}.png") as temporary:
                figure.savefig(temporary, dpi=DPI)


def _draw(axis, points: np.ndarray, faces: np.ndarray, colour: str, alpha: float) -> None:
    """Faces that look at the viewer, far ones first, lit from the viewer's upper left."""
    corners = points[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-15)
    seen = normal[:, 2] > 0
    order = np.argsort(corners[seen, :, 2].mean(1))
    corners, normal = corners[seen][order], normal[seen][order]
    light = 0.35 + 0.65 * np.clip(normal @ (np.array([-0.3, 0.4, 0.87])), 0, 1)
    rgba = np.ones((len(corners), 4))
    rgba[:, :3] = np.array(colors.to_rgb(colour)) * light[:, None]
    # Skin is seen edge-on at the outline, hence thicker there.
    rgba[:, 3] = alpha if alpha == 1 else alpha + (0.75 - alpha) * (1 - normal[:, 2]) ** 3
    # Edges of opaque faces in their colour close the hair lines that antialiasing leaves between them.
    edge = rgba if alpha == 1 else "none"
    axis.add_collection(PolyCollection(corners[..., :2], facecolors=rgba, edgecolors=edge, linewidths=0.2 if alpha == 1 else 0.0))


def _scale_bar(axis) -> None:
    x, y = axis.get_xlim()[0], axis.get_ylim()[0]
    axis.plot([x, x + 0.2], [y, y], color="#3b3b3b", linewidth=1.5)
    axis.text(x + 0.1, y, "0.2 m", ha="center", va="bottom", fontsize=8)
