"""Pictures of feet: heights with the events, and footprints on the floor."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon

from biomech_fit.core.footprints import Footprint, footprints, sole
from biomech_fit.core.steps import StepParameters
from biomech_fit.core.types import EventType, GaitEvent, Side
from biomech_fit.report.gait_view import GaitView, turns
from biomech_fit.report.style import LEFT, MIDDLE, RIGHT, lighter, new_figure
from biomech_fit.report.time_axis import LONGEST_S, time_label, time_ticks, time_window

COLOUR = {Side.LEFT: LEFT, Side.RIGHT: RIGHT}
LONGEST_FLOOR_S = 2 * LONGEST_S
"""Of a longer walk the footprints of so much are shown, from its middle."""
NUMBERS_APART_M = 0.25
"""On the floor: of two feet that stood nearer to each other only the first one's numbers are written."""
SAME_CONTACT_S = 0.1
"""A step whose contact is nearer to a footprint's is of that footprint."""
LONGEST_FLOOR_M = 7.0
"""Of a long and narrow walk the middle so much is shown: feet shall stay large enough to be seen."""


def gait_events(view: GaitView) -> Figure | None:
    """Heights of heels and toes over time; initial contacts on the heel's curve, final contacts on the toe's (the heel's where there is no toe)."""
    if not np.isfinite(view.heels).any():
        return None
    time = view.time_s
    figure = new_figure(12, 4.6)
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    for axis, side, word in zip(axes, Side, ("left", "right"), strict=True):
        heel, toe = 100 * view.heels[:, side, 2], 100 * view.toes[:, side, 2]
        axis.plot(time, heel, color=COLOUR[side], lw=1.8)
        axis.plot(time, toe, color=COLOUR[side], lw=0.9, alpha=0.6)
        mine = [e for e in view.events if e.side == side]
        for kind, marker, curve in ((EventType.INITIAL_CONTACT, "v", heel), (EventType.FINAL_CONTACT, "^", toe if np.isfinite(toe).any() else heel)):
            times = np.array([(e.stamp_ns - view.zero_ns) * 1e-9 for e in mine if e.type == kind])
            good = np.isfinite(curve)
            if times.size and good.sum() > 1:
                axis.plot(times, np.interp(times, time[good], curve[good]), marker, color="black", mfc="white" if marker == "^" else "black", ms=6)
        for start, end in _stances(mine):
            axis.axvspan((start - view.zero_ns) * 1e-9, (end - view.zero_ns) * 1e-9, color=COLOUR[side], alpha=0.07, lw=0)
        axis.set_title(f"{word} foot")
        axis.set_ylabel("height (cm)")
        axis.set_xlim(*time_window(time))
    axes[-1].set_xlabel(time_label(time))
    axes[-1].xaxis.set_major_locator(time_ticks())
    handles = [
        Line2D([], [], color=MIDDLE, lw=1.8, label="heel"),
        Line2D([], [], color=MIDDLE, lw=0.9, alpha=0.6, label="toe"),
        Line2D([], [], marker="v", ls="", color="black", ms=6, label="initial contact"),
        Line2D([], [], marker="^", ls="", color="black", mfc="white", ms=6, label="final contact"),
        Patch(color=lighter(MIDDLE, 0.85), label="stance"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=5)
    return figure


def _stances(events: list[GaitEvent]) -> list[tuple[int, int]]:
    """Pairs of an initial contact and the next final contact of one foot (ns)."""
    pairs, start = [], None
    for event in sorted(events, key=lambda e: e.stamp_ns):
        if event.type == EventType.INITIAL_CONTACT:
            start = event.stamp_ns
        elif start is not None:
            pairs.append((start, event.stamp_ns))
            start = None
    return pairs


def floor(view: GaitView) -> Figure | None:
    """Footprints seen from above in true proportion, the pelvis' path, and each step's length and width; None without two footprints.

    On a treadmill everything is laid out along the belt.
    """
    on_belt = any(s.belt_speed_m_s > 0 for s in view.steps)
    prints, belt = footprints(view.events, view.stamps_ns, view.heels, view.toes, moving=on_belt)
    if len(prints) < 2:
        return None
    middle_ns = 0.5 * (prints[0].stamp_ns + prints[-1].stamp_ns)
    shown = [p for p in prints if abs(p.stamp_ns - middle_ns) <= 0.5e9 * LONGEST_FLOOR_S]
    start_ns = shown[0].stamp_ns

    def laid_out(points: np.ndarray, stamps_ns: np.ndarray | int) -> np.ndarray:
        return points - np.multiply.outer((np.asarray(stamps_ns) - start_ns) * 1e-9, belt)

    during = (view.stamps_ns >= start_ns - 1e9) & (view.stamps_ns <= shown[-1].stamp_ns + 1e9)
    path = laid_out(view.pelvis[during, :2], view.stamps_ns[during])
    heels = {p.stamp_ns: laid_out(p.heel, p.stamp_ns) for p in shown}
    soles = [laid_out(sole(p.side, p.heel, p.toe), p.stamp_ns) for p in shown]
    everything = np.vstack([*soles, path[np.isfinite(path).all(1)]])
    size = np.ptp(everything, axis=0) + 0.3
    way = int(np.argmax(size))
    whole_m = size[way]
    if whole_m > LONGEST_FLOOR_M and size[1 - way] < 0.25 * whole_m:
        middle = np.median([outline[:, way].mean() for outline in soles])
        near = [i for i, outline in enumerate(soles) if abs(outline[:, way].mean() - middle) <= 0.5 * LONGEST_FLOOR_M]
        shown, soles = [shown[i] for i in near], [soles[i] for i in near]
        everything = np.vstack(soles)
        inside = (path[:, way] >= everything[:, way].min()) & (path[:, way] <= everything[:, way].max())
        path = np.where(inside[:, None], path, np.nan)
        everything = np.vstack([everything, path[inside]])
        size = np.ptp(everything, axis=0) + 0.3
    swapped = size[1] > size[0]  # walked along y: y to the right and x downwards is the same view from above, turned
    order = [1, 0] if swapped else [0, 1]
    long, short = size[order]
    figure = new_figure(12, float(np.clip(12 * short / long, 1.4, 9)) + 1.0)
    axis = figure.subplots()
    axis.plot(*path[:, order].T, color=MIDDLE, lw=1, alpha=0.7)
    for print_, outline in zip(shown, soles, strict=True):
        colour = COLOUR[print_.side]
        axis.add_patch(Polygon(outline[:, order], facecolor=lighter(colour, 0.6), edgecolor=colour, lw=1))
        axis.plot(*heels[print_.stamp_ns][order], "o", color=colour, ms=3)
    _dimensions(axis, view, shown, heels, order)
    axis.set_aspect("equal")
    axis.set_xlim(everything[:, order[0]].min() - 0.15, everything[:, order[0]].max() + 0.15)
    low, high = everything[:, order[1]].min() - 0.15, everything[:, order[1]].max() + 0.15
    axis.set_ylim((high, low) if swapped else (low, high))
    moving = " along the belt" if belt.any() else ""
    part = f"; {size[way]:.0f} m of {whole_m:.0f} m" if size[way] < whole_m else ""
    axis.set_xlabel("xy"[order[0]] + f" (m){moving}{part}")
    axis.set_ylabel("xy"[order[1]] + " (m)")
    handles = [
        Patch(facecolor=lighter(LEFT, 0.6), edgecolor=LEFT, label="left"),
        Patch(facecolor=lighter(RIGHT, 0.6), edgecolor=RIGHT, label="right"),
        Line2D([], [], color=MIDDLE, lw=1, label="pelvis"),
        Line2D([], [], color="black", lw=0.8, label="numbers: step length / width (cm), at the heel that ends the step; in brackets: in a turn"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def _dimensions(axis: Axes, view: GaitView, shown: list[Footprint], heels: dict[int, np.ndarray], order: list[int]) -> None:
    """Length and width of the steps in numbers, where they do not cover each other, and of the middle one as dimension lines."""
    by_stamp = {}
    for step in view.steps:  # events that came over topics may be some milliseconds from those that the steps were made of
        contact = min((p.stamp_ns for p in shown if p.side == step.side), key=lambda stamp, at=step.stamp_ns: abs(stamp - at), default=None)
        if contact is not None and abs(contact - step.stamp_ns) < SAME_CONTACT_S * 1e9:
            by_stamp[contact] = step
    written: list[np.ndarray] = []
    for print_ in shown:
        step = by_stamp.get(print_.stamp_ns)
        if step is None or not np.isfinite(step.step_length_m) or any(np.linalg.norm(heels[print_.stamp_ns] - w) < NUMBERS_APART_M for w in written):
            continue
        written.append(heels[print_.stamp_ns])
        width = f" / {100 * step.step_width_m:.0f}" if np.isfinite(step.step_width_m) else ""
        place = heels[print_.stamp_ns][order]
        away = _outwards(print_, order)
        words = f"{100 * step.step_length_m:.0f}{width}"
        axis.annotate(
            f"({words})" if turns(step) else words, place, xytext=20 * away, textcoords="offset points", ha="center", va="center", fontsize=7,
            color=COLOUR[print_.side],
        )  # fmt: skip
    whole = [n for n in range(2, len(shown)) if _is_stride(by_stamp.get(shown[n].stamp_ns), shown[n - 2 : n + 1])]
    if not whole:
        return
    n = whole[len(whole) // 2]
    a, b, c = (heels[p.stamp_ns] for p in shown[n - 2 : n + 1])
    along = (c - a) / np.linalg.norm(c - a)
    foot = a + along * (along @ (b - a))
    for start, end in ((a, c), (foot, b)):
        axis.plot(*np.stack([start, end])[:, order].T, color="black", lw=0.8)
    axis.annotate("", c[order], foot[order], arrowprops={"arrowstyle": "<->", "lw": 0.8, "shrinkA": 0, "shrinkB": 0})
    axis.annotate("step length", (0.5 * (foot + c))[order], xytext=(0, 4), textcoords="offset points", ha="center", fontsize=7)
    axis.annotate("width", (0.5 * (foot + b))[order], xytext=(4, 0), textcoords="offset points", va="center", fontsize=7)


def _is_stride(step: StepParameters | None, prints: list[Footprint]) -> bool:
    before, other, here = prints
    return step is not None and np.isfinite(step.step_width_m) and not turns(step) and before.side == here.side != other.side


def _outwards(print_: Footprint, order: list[int]) -> np.ndarray:
    """(2,) unit vector on the page (right, up) to the foot's own side."""
    along = (print_.toe - print_.heel) / max(float(np.linalg.norm(print_.toe - print_.heel)), 1e-9)
    left = np.array([-along[1], along[0]]) * (1.0 if print_.side == Side.LEFT else -1.0)
    return left[order] * ([1.0, -1.0] if order == [1, 0] else [1.0, 1.0])
