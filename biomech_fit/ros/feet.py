"""The detector on one of the fitter's outputs, in as little time as may be: waking up costs more than a pose."""

from __future__ import annotations

from collections.abc import Callable

from biomech_fit.core.gait import FeetAt, GaitDetector, GaitSettings
from biomech_fit.core.types import GaitEvent
from biomech_fit.ros.body_points import BodyPoints, BodyPointsReader
from biomech_fit.ros.cdr import stamp_of_serialized

LEAST_SPACING_NS = 13_000_000
"""Of two states nearer than this the second is left out: above 77 Hz every second or third one is used."""


class Feet:
    """Takes serialized body states; the detector is made anew when the names of their points change.

    Args:
        settings: of the detector, asked for when one is made.
        with_steps: also make steps.
        calm_s: states may wait this long while both feet are as they were: well under the detector's look-ahead, so that no event comes later for it.
        always_s: states may wait this long whatever the feet do.
    """

    def __init__(self, settings: Callable[[], GaitSettings], with_steps: bool, calm_s: float, always_s: float) -> None:
        self._settings, self._with_steps = settings, with_steps
        self._calm_ns, self._always_ns = round(calm_s * 1e9), round(always_s * 1e9)
        self._reader = BodyPointsReader()
        self.forget()

    def forget(self) -> None:
        """Begins anew with the next state, with the settings as they are then."""
        self._used_ns = self._first_ns = 0
        self._waiting: list[bytes] = []
        self._names: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self.detector: GaitDetector | None = None
        self.at: FeetAt | None = None

    def due(self, message: bytes) -> list[bytes]:
        """Messages that it is time for, in the order in which they came. Raises ValueError where this one has no stamp."""
        stamp_ns = stamp_of_serialized(message)
        if 0 < stamp_ns - self._used_ns < LEAST_SPACING_NS:
            return []
        self._used_ns = stamp_ns
        if not self._waiting:
            self._first_ns = stamp_ns
        self._waiting.append(message)
        calm = self.detector is not None and self.detector.settled
        return [] if 0 <= stamp_ns - self._first_ns < (self._calm_ns if calm else self._always_ns) else self.rest()

    def rest(self) -> list[bytes]:
        """All messages that still wait."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def read(self, message: bytes) -> BodyPoints | None:
        """None where nobody is tracked. Raises ValueError where the message is broken."""
        return self._reader.read(message)

    def update(self, state: BodyPoints) -> list[GaitEvent]:
        """Events that this state decides. Raises InputError (once for the same names) where there are no feet."""
        names = state.keypoint_names, state.joint_centre_names
        if names != self._names:
            self._names, self.detector = names, None
            self.detector = GaitDetector(*names, settings=self._settings(), with_steps=self._with_steps)
        if self.detector is None:
            return []
        self.at = self.detector.feet(state)
        return self.detector.update_points(*self.at)
