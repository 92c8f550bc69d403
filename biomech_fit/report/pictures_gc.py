"""GC_x curves (Cotton 2024, arXiv 2402.17192): the share of the keypoints with confidence >= 0.5 that lie under x px, over x."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from biomech_fit.core.sides import side_of
from biomech_fit.report.figures import GC_LIMITS_PX, gc_curve, gc_share
from biomech_fit.report.result import TrackResult
from biomech_fit.report.style import AFTER, BEFORE, CAMERA_COLOURS, LEFT, MIDDLE, RIGHT, lighter, new_figure

MOST_PANELS = 30
"""Of the keypoints' picture; of more, those with the most detections are shown."""


def gc_curves(result: TrackResult) -> Figure | None:
    """GC_x, the share of the detected keypoints within x px of the fitted body, before and after camera refinement: all cameras, and each."""
    before, after = result.errors_px(before=True), result.errors_px()
    if not np.isfinite(after).any():
        return None
    top, x = _top(before, after), GC_LIMITS_PX
    figure = new_figure(11, 4.0)
    left, right = figure.subplots(1, 2, sharey=True)
    for errors, colour, label, line in ((before, BEFORE, "loaded calibration", "--"), (after, AFTER, "refined cameras", "-")):
        # Dashed and on top: where both are alike, both are to be seen.
        shares = {limit: gc_share(errors, limit) for limit in (5.0, 10.0)}
        label += ":" + ",".join(f" GC$_{{{limit:.0f}}}$ {share:.2f}" for limit, share in shares.items())
        left.plot(x, gc_curve(errors, x), color=colour, lw=2.2, label=label, ls=line, zorder=3 if line == "--" else 2)
        left.plot(list(shares), list(shares.values()), "o", color=colour, ms=5, zorder=4)
    left.set_title("all cameras")
    left.legend(loc="lower right")
    for c, camera in enumerate(result.cameras_loaded):
        colour = CAMERA_COLOURS[c % len(CAMERA_COLOURS)]
        right.plot(x, gc_curve(before[:, c], x), color=colour, lw=1.0, ls="--", alpha=0.7)
        right.plot(x, gc_curve(after[:, c], x), color=colour, lw=1.7, label=camera.name)
    right.set_title("each camera (dashed: loaded calibration)")
    right.legend(loc="lower right", ncols=1 + (len(result.cameras_loaded) > 6))
    for axis in (left, right):
        axis.set_xlabel("x (px)")
        axis.set_xlim(0, top)
        axis.set_ylim(0, 1.02)
    left.set_ylabel("GC$_x$: share of keypoints under x px")
    return figure


def gc_keypoints(result: TrackResult) -> Figure | None:
    """GC_x of each keypoint over all cameras; left and right of a pair share a panel, dashed and pale is the loaded calibration."""
    before, after = result.errors_px(before=True), result.errors_px()
    panels = _pairs(result.keypoint_names, np.isfinite(after).sum((0, 1)))
    if not panels:
        return None
    columns = min(6, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(12, 1.75 * rows + 0.9)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis, (title, members) in zip(axes.flat, panels, strict=False):
        for k in members:
            colour = {"l": LEFT, "r": RIGHT}.get(side_of(result.keypoint_names[k]), MIDDLE)
            axis.plot(GC_LIMITS_PX, gc_curve(before[:, :, k], GC_LIMITS_PX), color=lighter(colour, 0.45), lw=1.1, ls="--")
            axis.plot(GC_LIMITS_PX, gc_curve(after[:, :, k], GC_LIMITS_PX), color=colour, lw=1.8)
        share = gc_share(after[:, :, members], 10.0)
        axis.set_title(title)
        axis.text(0.96, 0.08, f"GC$_{{10}}$ {share:.2f}", transform=axis.transAxes, ha="right", fontsize=8, color="#555555")
        axis.set_xlim(0, _top(before, after))
        axis.set_ylim(0, 1.02)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for column in range(columns):
        lowest = [axis for axis in axes[:, column] if axis.get_visible()][-1]
        lowest.set_xlabel("x (px)")
        lowest.tick_params(labelbottom=True)
    for row in axes:
        row[0].set_ylabel("GC$_x$")
    handles = [
        *(Line2D([], [], color=colour, lw=1.8, label=label) for colour, label in ((LEFT, "left"), (RIGHT, "right"), (MIDDLE, "middle"))),
        Line2D([], [], color=lighter(MIDDLE, 0.45), lw=1.1, ls="--", label="loaded calibration"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def comparison(result: TrackResult) -> Figure | None:
    """The end-to-end fit beside other methods on the same detections: those that all have seen, and those that none has."""
    if result.comparison is None:
        return None
    halves = [("all detections", result.comparison.seen), ("detections left out of all of them", result.comparison.held_out)]
    halves = [(title, methods) for title, methods in halves if any(np.isfinite(errors).any() for errors in methods.values())]
    if not halves:
        return None
    figure = new_figure(5.5 * len(halves), 4.0)
    axes = figure.subplots(1, len(halves), sharey=True, squeeze=False)[0]
    top = max(_top(errors) for _, methods in halves for errors in methods.values())
    for axis, (title, methods) in zip(axes, halves, strict=True):
        for (label, errors), (colour, line) in zip(methods.items(), ((AFTER, "-"), ("#d9822b", "-"), (BEFORE, "--")), strict=False):
            figures = f"median {np.nanmedian(errors):.1f} px, GC$_{{10}}$ {gc_share(errors, 10.0):.2f}"
            axis.plot(GC_LIMITS_PX, gc_curve(errors, GC_LIMITS_PX), color=colour, ls=line, lw=2.0, label=f"{label}: {figures}")
        axis.set_title(title)
        axis.set_xlabel("x (px)")
        axis.set_xlim(0, top)
        axis.set_ylim(0, 1.02)
        axis.legend(loc="lower right")
    axes[0].set_ylabel("GC$_x$: share of keypoints under x px")
    return figure


def _top(*errors: np.ndarray) -> float:
    """Where the curves are high enough to end."""
    finite = np.concatenate([e[np.isfinite(e)] for e in errors])
    return float(np.clip(np.percentile(finite, 95), 12, GC_LIMITS_PX[-1])) if finite.size else 12.0


def _pairs(names: tuple[str, ...], counts: np.ndarray) -> list[tuple[str, list[int]]]:
    """(title, indices) of the keypoints with detections, left and right together."""
    groups: dict[str, list[int]] = {}
    for k, name in enumerate(names):
        if counts[k]:
            groups.setdefault(_base(name) if side_of(name) else name, []).append(k)
    most = sorted(groups, key=lambda base: -int(counts[groups[base]].sum()))[:MOST_PANELS]
    return [(base, groups[base]) for base in groups if base in most]


def _base(name: str) -> str:
    """The name without its side."""
    for side in ("left_", "right_", "Left", "Right"):
        if name.startswith(side):
            return name[len(side) :].replace("_", " ")
    return name[:-2] if name.endswith(("_l", "_r")) else name[1:]
