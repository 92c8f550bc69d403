"""Joint angles over the gait cycle, from each initial contact to the next of the same foot."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from biomech_fit.core.types import EventType, Side
from biomech_fit.report.result import TrackResult
from biomech_fit.report.style import LEFT, MIDDLE, RIGHT, lighter, new_figure

PANELS = (
    ("pelvis_tilt", "pelvis tilt"), ("pelvis_list", "pelvis list"), ("hip_flexion", "hip flexion (+)"), ("hip_adduction", "hip adduction (+)"),
    ("knee_angle", "knee flexion (+)"), ("ankle_angle", "ankle dorsiflexion (+)"),
)  # fmt: skip
MIN_CYCLES = 3
"""Of one side; with fewer there is no picture."""
SHORTEST_S, LONGEST_S = 0.5, 2.5
"""Of a stride; others are two strides with a contact missed between, or none."""


def gait_cycles(result: TrackResult) -> Figure | None:
    """Mean and standard deviation of the smoothed angles over the gait cycle, left blue, right red; None with fewer than three strides."""
    strides = {side: _strides(result, side) for side in (Side.LEFT, Side.RIGHT)}
    panels = [(name, title) for name, title in PANELS if name in result.coordinate_names or f"{name}_r" in result.coordinate_names]
    if max(len(s) for s in strides.values()) < MIN_CYCLES or not panels:
        return None
    columns = 3
    rows = -(-len(panels) // columns)
    figure = new_figure(12, 2.4 * rows + 0.6)
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axis, (name, title) in zip(axes.flat, panels, strict=False):
        for side, letter, colour in ((Side.LEFT, "l", LEFT), (Side.RIGHT, "r", RIGHT)):
            column = name if name in result.coordinate_names else f"{name}_{letter}"
            if column in result.coordinate_names and strides[side]:
                _curves(axis, result, result.coordinate_names.index(column), strides[side], colour)
        axis.set_title(title)
        axis.set_ylabel("degrees")
        axis.set_xlim(0, 100)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("gait cycle (%)")
    handles = [
        Patch(color=LEFT, label=f"left, {len(strides[Side.LEFT])} strides"),
        Patch(color=RIGHT, label=f"right, {len(strides[Side.RIGHT])} strides"),
        Line2D([], [], color=MIDDLE, lw=2, label="mean"),
        Patch(color=lighter(MIDDLE, 0.75), label="± 1 sd between strides"),
        Line2D([], [], color=MIDDLE, lw=0.5, alpha=0.6, label="single strides"),
        Line2D([], [], color=MIDDLE, lw=1, ls="--", label="final contact (mean)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=6)
    return figure


def _strides(result: TrackResult, side: Side) -> list[tuple[float, float, float | None]]:
    """(start, end, final contact or None) in s of the strides during which the body was tracked all the time."""
    events = sorted((e.stamp_ns, e.type) for e in result.smoothed.events if e.side == side)
    contacts = [(t - result.zero_ns) * 1e-9 for t, kind in events if kind == EventType.INITIAL_CONTACT]
    offs = [(t - result.zero_ns) * 1e-9 for t, kind in events if kind == EventType.FINAL_CONTACT]
    tracked = np.isfinite(result.smoothed.position).all(1)
    strides = []
    for start, end in pairwise(contacts):
        during = (result.time_s >= start) & (result.time_s <= end)
        if SHORTEST_S <= end - start <= LONGEST_S and during.sum() > 5 and tracked[during].all():
            strides.append((start, end, next((t for t in offs if start < t < end), None)))
    return strides


def _curves(axis, result: TrackResult, index: int, strides: list[tuple[float, float, float | None]], colour: str) -> None:
    share = np.linspace(0, 1, 101)
    angle = np.degrees(result.smoothed.position[:, index])
    good = np.isfinite(angle)
    cycles = np.array([np.interp(start + share * (end - start), result.time_s[good], angle[good]) for start, end, _ in strides])
    axis.plot(100 * share, cycles.T, color=colour, lw=0.5, alpha=0.35)
    mean, std = cycles.mean(0), cycles.std(0, ddof=1) if len(cycles) > 1 else np.zeros(len(share))
    axis.fill_between(100 * share, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
    axis.plot(100 * share, mean, color=colour, lw=2)
    offs = [(off - start) / (end - start) for start, end, off in strides if off is not None]
    if offs:
        axis.axvline(100 * float(np.mean(offs)), color=colour, lw=1, ls="--")
