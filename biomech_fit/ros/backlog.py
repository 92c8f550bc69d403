"""Which frames a fit that does not keep up leaves out."""

from __future__ import annotations

BEHIND, CAUGHT_UP = 0.5, 0.05
"""Shares of the longest wait: from the one on every second frame is left out, until the wait is under the other."""


class Backlog:
    """Every second frame is left out while the fit is behind, so that it catches up with half the frame rate and no gap; whatever waited too long as well.

    Args:
        max_wait_s: no frame that waited longer is fitted.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._behind = self._left_out = False

    def leaves_out(self, waited_s: float) -> bool:
        """Whether the next frame, whose last packet has waited so long, is to be left out. Does not count it: see `went`."""
        if waited_s > BEHIND * self._max_wait_s:
            self._behind = True
        elif waited_s < CAUGHT_UP * self._max_wait_s:
            self._behind = False
        return waited_s > self._max_wait_s or (self._behind and not self._left_out)

    def went(self, left_out: bool) -> None:
        """What became of a frame."""
        self._left_out = left_out
