"""Errors of gait events against labels, and of steps against those that labels and heel markers make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from gait_walks import Label, Walk

from biomech_fit.core.steps import StepParameters, steps_of_recording
from biomech_fit.core.types import EventType, GaitEvent

MATCH_S = 0.15
LENGTHS = ("step_length_m", "stride_length_m", "step_width_m")
_Z95 = 1.959964


@dataclass(eq=False)
class Errors:
    """Of one kind of event in any number of walks."""

    error_s: list[float] = field(default_factory=list)
    walk: list[str] = field(default_factory=list)
    """Whose walk each error is from."""
    normalised: list[float] = field(default_factory=list)
    """Error over the stated standard deviation."""
    delay_s: list[float] = field(default_factory=list)
    """From the label to the newest instant used."""
    missed: int = 0
    false: int = 0

    def figures(self) -> dict[str, float]:
        """Times in ms. Spread and median are of matched events; `left_out_*` with the mean error of the other people's walks taken away."""
        error, normalised, delay = 1e3 * np.array(self.error_s), np.array(self.normalised), 1e3 * np.array(self.delay_s)
        if not len(error):
            return {"count": 0, "missed": self.missed, "false": self.false}
        people = np.array(self.walk)
        several = len(set(self.walk)) > 1
        centred = [e - error[people != name].mean() for e, name in zip(error, people, strict=True)] if several else [np.nan]
        return {
            "count": len(error),
            "bias_ms": float(error.mean()),
            "sd_ms": float(error.std()),
            "median_absolute_ms": float(np.median(np.abs(error))),
            "missed": self.missed,
            "false": self.false,
            "delay_p50_ms": float(np.median(delay)),
            "delay_p95_ms": float(np.percentile(delay, 95)),
            "normalised_sd": float(normalised.std()),
            "inside_95": float(np.mean(np.abs(normalised) < _Z95)) if np.isfinite(normalised).all() else float("nan"),
            "left_out_bias_ms": float(np.mean(centred)),
            "left_out_sd_ms": float(np.std(centred)),
        }


def add_errors(into: dict[EventType, Errors], walk: Walk, events: Sequence[GaitEvent], first_s: float, all_labelled: bool = True) -> None:
    """Matches each label, from `first_s` on, with the nearest event of its foot and kind; what is left between the first and last of these is false
    (where all contacts are labelled)."""
    labels = [label for label in walk.labels if label.time_s >= first_s]
    free = list(events)
    for label in labels:
        errors = into.setdefault(label.type, Errors())
        near = [e for e in free if (e.side, e.type) == (label.side, label.type) and abs(e.stamp_ns * 1e-9 - label.time_s) < MATCH_S]
        if not near:
            errors.missed += 1
            continue
        event = min(near, key=lambda e: abs(e.stamp_ns * 1e-9 - label.time_s))
        free.remove(event)
        error = event.stamp_ns * 1e-9 - label.time_s
        errors.error_s.append(error)
        errors.walk.append(walk.name)
        errors.normalised.append(error / event.time_std_s)
        errors.delay_s.append(event.detection_delay_s + error)
    for event in free:
        if all_labelled and labels and labels[0].time_s < event.stamp_ns * 1e-9 < labels[-1].time_s:
            into.setdefault(event.type, Errors()).false += 1


def true_steps(walk: Walk) -> list[StepParameters]:
    """Steps from the labels and the heel markers in stance."""
    return steps_of_recording([_as_event(label) for label in walk.labels], walk.stamps_ns.tolist(), walk.heels, walk.toes)


def step_errors(steps: Sequence[StepParameters], truth: Sequence[StepParameters]) -> dict[str, list[float]]:
    """mm, of the lengths of steps that end within `MATCH_S` of each other."""
    out: dict[str, list[float]] = {name: [] for name in LENGTHS}
    for true in truth:
        for step in steps:
            if step.side == true.side and abs(step.stamp_ns - true.stamp_ns) < MATCH_S * 1e9:
                for name in LENGTHS:
                    error = 1e3 * (getattr(step, name) - getattr(true, name))
                    if np.isfinite(error):
                        out[name].append(error)
    return out


def _as_event(label: Label) -> GaitEvent:
    return GaitEvent(round(label.time_s * 1e9), label.type, label.side, np.full(3, np.nan), 0.005, 1.0, 0.0)
