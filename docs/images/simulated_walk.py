"""Draws simulated_walk.png: `python docs/images/simulated_walk.py`."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from biomech_fit.core.types import EventType, Side
from biomech_fit.sim import gait_curves
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import Simulation, simulate
from biomech_fit.sim.subject import body_points
from biomech_fit.sim.walker import sole_points

RIGHT, LEFT, MIDDLE = "tab:red", "tab:blue", "0.2"


def stick_figures(axis: plt.Axes, sim: Simulation, frames: range) -> None:
    heading = sim.truth.coordinates[:, sim.truth.coordinate_names.index("pelvis_rotation")]
    for n, f in enumerate(frames):
        points = sim.truth.keypoints[f]
        along = (points[:, :2] - points[:, :2].mean(axis=0)) @ [np.cos(heading[f]), np.sin(heading[f])] + 0.75 * n
        for i, j in sim.keypoint_set.edges:
            colour = {"R": RIGHT, "L": LEFT}.get(sim.keypoint_set.names[i][0], MIDDLE)
            axis.plot(along[[i, j]], points[[i, j], 2], color=colour, lw=2)
    axis.axhline(0, color="0.5", lw=1)
    axis.set(aspect="equal", xticks=[], ylabel="height (m)", title="Every 83 ms, seen from the right (right side red): what the detector aims at")


def cycles(axis: plt.Axes, sim: Simulation, name: str, title: str) -> None:
    foot = sim.motion.feet[0]
    phase = np.interp(sim.truth.time_s, np.linspace(sim.motion.start_s, sim.motion.end_s, len(foot.phase)), foot.phase)
    values = sim.truth.coordinates[:, sim.truth.coordinate_names.index(f"{name}_r")]
    share = np.linspace(0, 1, 101)
    for first in range(int(np.ceil(phase[0])), int(np.floor(phase[-1]))):
        axis.plot(100 * share, np.rad2deg(np.interp(first + share, phase, values)), color="0.6", lw=1)
    mean = gait_curves.leg_angles(share, np.ones(101), np.zeros(101))[name]
    axis.plot(100 * share, np.rad2deg(mean), "k--", label="published mean (table)")
    axis.set(title=f"Right {title} (deg)", xlabel="gait cycle (%)")
    axis.grid(alpha=0.3)


def soles(axis: plt.Axes, sim: Simulation) -> None:
    places = sole_points(sim.subject.mj_model, sim.subject.foot_points)[:3]
    points = body_points(sim.subject.mj_model, sim.truth.qpos, np.array([b for b, _ in places]), np.array([p for _, p in places]))
    for k, name in enumerate(("heel", "ball", "toe")):
        axis.plot(sim.truth.time_s, 1e3 * points[:, k, 2], label=name)
    for event in sim.truth.events:
        if event.side == Side.RIGHT:
            axis.axvline(event.stamp_ns * 1e-9, color="tab:green" if event.type == EventType.INITIAL_CONTACT else "tab:red", lw=0.8)
    axis.set(xlim=(2.5, 6.5), xlabel="time (s)", title="Height of the right sole (mm); initial contacts green, final contacts red")
    axis.legend()
    axis.grid(alpha=0.3)


def course(axis: plt.Axes, sim: Simulation) -> None:
    axis.plot(sim.truth.qpos[:, 0], sim.truth.qpos[:, 1], color="0.5")
    for event in sim.truth.events:
        if event.type == EventType.INITIAL_CONTACT:
            axis.plot(*event.position[:2], "o", color=RIGHT if event.side == Side.RIGHT else LEFT, ms=5)
    axis.set(aspect="equal", title="Pelvis path and heel contacts (m)")
    axis.grid(alpha=0.3)


def main() -> None:
    sim = simulate(SimConfig())
    figure = plt.figure(figsize=(13, 9))
    grid = figure.add_gridspec(3, 3, height_ratios=[1.5, 1, 1])
    stick_figures(figure.add_subplot(grid[0, :]), sim, range(170, 240, 5))
    for k, (name, title) in enumerate((("hip_flexion", "hip flexion"), ("knee_angle", "knee flexion"), ("ankle_angle", "ankle dorsiflexion"))):
        axis = figure.add_subplot(grid[1, k])
        cycles(axis, sim, name, title)
        if k == 0:
            axis.legend()
    soles(figure.add_subplot(grid[2, :2]), sim)
    course(figure.add_subplot(grid[2, 2]), sim)
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=75)


if __name__ == "__main__":
    main()
