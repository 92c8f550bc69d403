"""A subject trial: a person stands or walks for some seconds, and what the fit then knows of the body becomes the known subject."""

from __future__ import annotations

from collections.abc import Iterable

from biomech_fit.core.types import FrameResult, Status

MIN_CAMERAS = 2
MAX_STEP_S = 0.2
"""A longer time between two good frames does not count: the person was away."""


class SubjectTrial:
    """Counts the seconds in which the (first) person was well seen, until they are enough.

    The caller clears the subject first (`FitPipeline.reset(subject=True)`), feeds every result to `add`, and hands `FitPipeline.subject()` back with
    `set_subject` once it says so.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.good_s = 0.0
        self._last_ns: int | None = None

    def add(self, results: Iterable[FrameResult]) -> bool:
        """Take results as the pipeline gives them; True once the trial is complete."""
        for result in results:
            if not _is_good(result):
                continue
            if self._last_ns is not None:
                step = (result.stamp_ns - self._last_ns) * 1e-9
                self.good_s += step if 0 < step <= MAX_STEP_S else 0.0
            self._last_ns = result.stamp_ns
        return self.done

    @property
    def done(self) -> bool:
        return self.good_s >= self.seconds - 1e-6

    def sentence(self) -> str:
        """How far it is."""
        if self._last_ns is None:
            return "The subject trial waits for a person."
        return f"The subject trial has {self.good_s:.1f} of {self.seconds:g} s of good frames; stand or walk in view of the cameras."


def _is_good(result: FrameResult) -> bool:
    estimate = result.causal
    return result.person == 1 and estimate is not None and result.status in (Status.OK, Status.REINITIALISED) and len(estimate.cameras_used) >= MIN_CAMERAS
