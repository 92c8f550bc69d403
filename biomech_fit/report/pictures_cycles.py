"""Joint angles over the gait cycle, from each initial contact to the next of the same foot."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from biomech_fit.core.types import EventType, Side
from biomech_fit.report.gait_view import GaitView, turns
from biomech_fit.report.style import LEFT, MIDDLE, RIGHT, lighter, new_figure

PANELS = (
    ("pelvis_anterior_tilt", "pelvis anterior tilt (+)"), ("pelvis_obliquity", "pelvis obliquity, own side up (+)"),
    ("hip_flexion", "hip flexion (+)"), ("hip_adduction", "hip adduction (+)"), ("hip_rotation", "hip internal rotation (+)"),
    ("knee_angle", "knee flexion (+)"), ("ankle_angle", "ankle dorsiflexion (+)"),
)  # fmt: skip
COLUMNS = 4
MIN_CYCLES = 3
"""Of one side; with fewer there is no picture."""
SHORTEST_S, LONGEST_S = 0.5, 2.5
"""Of a stride; others are two strides with a contact missed between, or none."""


def gait_cycles(view: GaitView) -> Figure | None:
    """Mean and standard deviation of the angles over the gait cycle, left blue, right red; None with fewer than three strides, or without angles.

    Strides in turns are left out where three straight ones remain.
    """
    strides = {side: cycles(view, side) for side in Side}
    counts = {side: f"{len(strides[side])} strides" for side in Side}
    turning = {(s.stamp_ns - view.zero_ns) * 1e-9 for s in view.steps if turns(s)}
    for side in Side:
        straight = [stride for stride in strides[side] if stride[1] not in turning]
        if MIN_CYCLES <= len(straight) < len(strides[side]):
            counts[side] = f"{len(straight)} straight strides"
            strides[side] = straight
    panels = [(name, title) for name, title in PANELS if name in view.angles or f"{name}_r" in view.angles]
    if max(len(s) for s in strides.values()) < MIN_CYCLES or not panels:
        return None
    rows = -(-len(panels) // COLUMNS)
    figure = new_figure(12, 2.6 * rows + 0.8)
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    for axis, (name, title) in zip(axes.flat, panels, strict=False):
        for side, letter, colour in ((Side.LEFT, "l", LEFT), (Side.RIGHT, "r", RIGHT)):
            column = name if name in view.angles else f"{name}_{letter}"
            if column in view.angles and strides[side]:
                _curves(axis, view.time_s, view.angles[column], strides[side], colour)
        axis.set_title(title)
        axis.set_xlim(0, 100)
        axis.set_xlabel("gait cycle (%)")
    for axis in axes[:, 0]:
        axis.set_ylabel("degrees")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    handles = [
        Patch(color=LEFT, label=f"left, {counts[Side.LEFT]}"),
        Patch(color=RIGHT, label=f"right, {counts[Side.RIGHT]}"),
        Line2D([], [], color=MIDDLE, lw=2, label="mean"),
        Patch(color=lighter(MIDDLE, 0.75), label="± 1 sd between strides"),
        Line2D([], [], color=MIDDLE, lw=0.5, alpha=0.6, label="single strides"),
        Line2D([], [], color=MIDDLE, lw=1, ls="--", label="final contact (mean)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=6)
    return figure


def cycles(view: GaitView, side: Side) -> list[tuple[float, float, float | None]]:
    """(start, end, final contact or None) in s of a foot's strides during which every angle is known."""
    events = sorted((e.stamp_ns, e.type) for e in view.events if e.side == side)
    contacts = [(t - view.zero_ns) * 1e-9 for t, kind in events if kind == EventType.INITIAL_CONTACT]
    offs = [(t - view.zero_ns) * 1e-9 for t, kind in events if kind == EventType.FINAL_CONTACT]
    time = view.time_s
    known = np.isfinite(np.stack([*view.angles.values(), time])).all(0)
    strides = []
    for start, end in pairwise(contacts):
        during = (time >= start) & (time <= end)
        if SHORTEST_S <= end - start <= LONGEST_S and during.sum() > 5 and known[during].all():
            strides.append((start, end, next((t for t in offs if start < t < end), None)))
    return strides


def _curves(axis: Axes, time_s: np.ndarray, angle: np.ndarray, strides: list[tuple[float, float, float | None]], colour: str) -> None:
    share = np.linspace(0, 1, 101)
    good = np.isfinite(angle)
    curves = np.array([np.interp(start + share * (end - start), time_s[good], angle[good]) for start, end, _ in strides])
    axis.plot(100 * share, curves.T, color=colour, lw=0.5, alpha=0.35)
    mean, std = curves.mean(0), curves.std(0, ddof=1) if len(curves) > 1 else np.zeros(len(share))
    axis.fill_between(100 * share, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
    axis.plot(100 * share, mean, color=colour, lw=2)
    offs = [(off - start) / (end - start) for start, end, off in strides if off is not None]
    if offs:
        axis.axvline(100 * float(np.mean(offs)), color=colour, lw=1, ls="--")
