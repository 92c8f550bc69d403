"""Which frames a fit that does not keep up leaves out."""

from __future__ import annotations

from math import inf

BEHIND, CAUGHT_UP = 0.5, 0.05
"""Shares of the longest wait: from the one on frames are left out, until the wait is under the other."""
LATE, PATIENCE = 0.15, 20
"""So it is, too, where more than so many frames in a row have waited for longer than this share: that is not a moment's delay, such as a start."""
MOST = 7
"""Frames left out on end."""


class Backlog:
    """While the fit is behind every second frame is left out, or more where that does not help: it catches up with a lower frame rate and short gaps.

    Args:
        max_wait_s: no frame that waited longer is fitted.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._behind, self._late = False, 0
        self._run, self._left_out = 1, 0
        self._last_wait_s = inf

    def leaves_out(self, waited_s: float) -> bool:
        """Whether the next frame, whose last packet has waited so long, is to be left out. Does not count it: see `went`."""
        if waited_s < CAUGHT_UP * self._max_wait_s:
            self._behind, self._late, self._run, self._last_wait_s = False, 0, 1, inf
        elif waited_s > BEHIND * self._max_wait_s or self._late > PATIENCE:
            self._behind = True
        return waited_s > self._max_wait_s or (self._behind and self._left_out < self._run)

    def went(self, left_out: bool, waited_s: float) -> None:
        """What became of a frame that had waited so long."""
        if left_out:
            self._left_out += 1
            return
        self._late = self._late + 1 if waited_s > LATE * self._max_wait_s else 0
        if waited_s >= self._last_wait_s:
            self._run = min(self._run + 1, MOST)
        self._left_out, self._last_wait_s = 0, waited_s if self._behind else inf
