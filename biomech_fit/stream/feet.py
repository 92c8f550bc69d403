"""Gait of a whole recording of feet: as it would have been told live, and with the whole recording known."""

from __future__ import annotations

import numpy as np

from biomech_fit.core.gait import GaitDetector, GaitSettings
from biomech_fit.core.steps import StepParameters, steps_of_recording
from biomech_fit.core.types import GaitEvent

NAMES = ("LHeel", "RHeel", "LBigToe", "RBigToe")

Gait = tuple[list[GaitEvent], list[StepParameters]]
"""Events and steps in order of time."""


def read_gait(stamps_ns: np.ndarray, heels: np.ndarray, toes: np.ndarray, settings: GaitSettings | None = None) -> tuple[Gait, Gait]:
    """Causal and offline result.

    Args:
        stamps_ns: (T,) increasing.
        heels: (T, 2, 3) m, z-up world: left, right; NaN = missing.
        toes: (T, 2, 3) m.
        settings: of the detector.
    """
    detector = GaitDetector(NAMES, settings=settings)
    events: list[GaitEvent] = []
    for stamp_ns, heel, toe in zip(stamps_ns.tolist(), heels, toes, strict=True):
        events += detector.update_points(stamp_ns, heel, toe)
    events += detector.finish()
    return (events, detector.steps()), (events, steps_of_recording(events, stamps_ns, heels, toes))
