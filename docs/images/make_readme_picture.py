"""Draws overview.png: `python docs/images/make_readme_picture.py`. A simulated walk, seen by eight cameras whose calibration is off, tracked frame by frame."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from biomech_fit.config import FitConfig
from biomech_fit.core.types import EventType
from biomech_fit.report import pictures_cameras
from biomech_fit.report.collect import Collector
from biomech_fit.report.result import TrackResult
from biomech_fit.report.style import BEFORE, LEFT, RIGHT, lighter, side_colour, styled
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import Simulation, simulate
from biomech_fit.stream.pipeline import FitPipeline

ANGLES = (("hip_flexion", "hip flexion"), ("knee_angle", "knee flexion"), ("ankle_angle", "ankle dorsiflexion"))
CAMERA, MOMENT_S = 5, 2.9


def track(walk: Simulation) -> TrackResult:
    config = FitConfig()
    pipeline = FitPipeline(walk.body, walk.cameras, walk.keypoint_set, config)
    pipeline.compile()
    collector = Collector(walk.body, walk.cameras, walk.keypoint_set, config.window.lag_s)
    for packet in walk.packets():
        pipeline.feed_keypoints(packet)
        collector.add(pipeline.poll())
    collector.add(pipeline.flush())
    return collector.result(pipeline.calibration(), pipeline.subject(), walk.config.frame_rate_hz, 1.0)


def draw_scene(axis: plt.Axes, result: TrackResult) -> None:
    """The report's 3D view, cropped."""
    figure = pictures_cameras.scene(result)
    assert figure is not None
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
    buffer.seek(0)
    axis.imshow(plt.imread(buffer))
    axis.set_title("fitted body and refined cameras")
    axis.axis("off")


def draw_view(axis: plt.Axes, result: TrackResult) -> None:
    """Detected keypoints, and the fitted body through the refined and through the loaded camera."""
    frame = int(np.argmin(np.abs(result.time_s - MOMENT_S)))
    seen, fitted, before = (a[frame, CAMERA] for a in (result.observed_xy, result.reprojected_xy, result.reprojected_before_xy))
    for a, b in result.keypoint_set.edges:
        axis.plot(*before[[a, b]].T, color=BEFORE, ls="--", lw=1.2)
        axis.plot(*fitted[[a, b]].T, color=side_colour(result.keypoint_names[a], result.keypoint_names[b]), lw=3, solid_capstyle="round")
    axis.scatter(*seen.T, s=22, facecolor="#f2b134", edgecolor="black", linewidth=0.6, zorder=3)
    axis.set(aspect="equal", xticks=[], yticks=[], title=f"one camera, {result.time_s[frame]:.1f} s")
    axis.set_xlabel("dots: detected keypoints\ndashed: through the loaded cameras")
    axis.invert_yaxis()
    axis.margins(0.12)


def draw_angle(axis: plt.Axes, result: TrackResult, walk: Simulation, name: str, title: str) -> None:
    for side, colour in (("l", LEFT), ("r", RIGHT)):
        index = result.coordinate_names.index(f"{name}_{side}")
        mean, std = (np.degrees(a[:, index]) for a in (result.smoothed.position, result.smoothed.position_std))
        axis.fill_between(result.time_s, mean - 2 * std, mean + 2 * std, color=colour, alpha=0.2, lw=0)
        axis.plot(result.time_s, np.degrees(result.causal.position[:, index]), color=colour, lw=0.7)
        axis.plot(result.time_s, mean, color=colour, lw=2)
        axis.plot(walk.truth.time_s, np.degrees(walk.truth.coordinates[:, walk.truth.coordinate_names.index(f"{name}_{side}")]), "k--", lw=0.9)
    for event in result.smoothed.events:
        if event.type == EventType.INITIAL_CONTACT:
            axis.axvline(event.stamp_ns * 1e-9, color="0.6", ls=":", lw=0.8)
    axis.set(xlim=(2, 6), ylabel="degrees", title=title)


def main() -> None:
    walk = simulate(SimConfig(calibration_rotation_deg=0.5, calibration_translation_mm=20.0))
    result = track(walk)
    with styled():
        figure = plt.figure(figsize=(13, 4.6), layout="constrained")
        left, middle, right = figure.subfigures(1, 3, width_ratios=[1.75, 0.9, 1.5])
        draw_scene(left.subplots(), result)
        draw_view(middle.subplots(), result)
        axes = right.subplots(3, 1, sharex=True)
        for axis, (name, title) in zip(axes, ANGLES, strict=True):
            draw_angle(axis, result, walk, name, title)
        axes[-1].set_xlabel("time (s)")
        lines = [axes[0].plot([], [], color="0.3", lw=w, label=t)[0] for w, t in ((2, "smoothed"), (0.7, "causal"))]
        truth = axes[0].plot([], [], "k--", lw=0.9, label="truth")[0]
        sides = [Patch(color=LEFT, label="left"), Patch(color=RIGHT, label="right"), Patch(color=lighter("#3b3b3b", 0.75), label="± 2 sd")]
        right.legend(handles=[*sides, *lines, truth], loc="outside lower center", ncols=6, columnspacing=1.2, handlelength=1.4)
        figure.savefig(Path(__file__).with_name("overview.png"), dpi=90)


if __name__ == "__main__":
    main()
