"""What summary.json says of an offline fit beyond what every run says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from biomech_fit.report.figures import json_ready
from biomech_fit.report.result import CONFIDENCE_THRESHOLD, Comparison, TrackResult

FIT, STAGES = "end to end", "two stages"


class Fitted(Protocol):
    """An offline fit of one person (`offline.fit.PersonFit`)."""

    held_out: Any
    seconds: dict[str, float]
    trials: list[Any]
    notices: list[str]


class TwoStages(Protocol):
    """What two stages make of the same detections (`offline.two_stage.TwoStage`): errors (T, C, K) px."""

    loaded: np.ndarray
    refined: np.ndarray
    held_out: np.ndarray | None
    fit_held_out: np.ndarray | None


def comparison_of(result: TrackResult, stages: TwoStages | None) -> Comparison | None:
    """The fit beside the two stages, over the detections that count."""
    if stages is None:
        return None
    counted = result.observed_confidence >= CONFIDENCE_THRESHOLD

    def sure(errors: np.ndarray) -> np.ndarray:
        return np.where(counted, errors, np.nan)

    seen = {FIT: result.errors_px(), STAGES: sure(stages.refined), f"{STAGES}, loaded cameras": sure(stages.loaded)}
    if stages.held_out is None or stages.fit_held_out is None:
        return Comparison(seen, {})
    return Comparison(seen, {FIT: sure(stages.fit_held_out), STAGES: sure(stages.held_out)})


def fit_figures(person: Fitted) -> dict[str, Any]:
    """Whether the cameras' corrections were accepted and on what grounds, and the wall time of the parts."""
    judged = person.held_out
    held_out = None if judged is None else {**asdict(judged), "accepted": judged.accepted, "lenses_accepted": judged.lenses_accepted}
    return {"held_out": held_out, "seconds": dict(person.seconds), "trials": len(person.trials)}


def visit_summary(fit: dict[str, Any], notices: Sequence[str], trials: dict[str, dict[str, Any]]) -> str:
    """summary.json of several recordings of one person: what concerns all, and each one's own summary by its name."""
    lengths = next(iter(trials.values()))["segment_lengths_m"]
    content = {"fit": fit, "segment_lengths_m": lengths, "notices": list(notices), "trials": trials}
    return json.dumps(json_ready(content), indent=2) + "\n"
