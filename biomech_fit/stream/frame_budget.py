"""Frames that come faster than the window was made for.

The window has slots for `frame_rate_hz`. A frame that is pushed out of it before its time has said what it knows of poses, but of body and cameras nothing
would be kept. So, where frames come faster, some are left out, those of fewer cameras first (a rig of mixed rates), and the user is told.
"""

from __future__ import annotations

from collections import deque
from typing import Any

ROOM = 1.04
"""So many times the nominal rate the window holds."""
BURST = 3.0
"""Frames that may come too soon: stamps jitter."""
FEWER_WAIT = 0.6
"""A frame of fewer cameras than those before it is taken where so much more of a frame's time is in hand."""
MEMORY = 8
"""Frames before it."""
WORTH_TELLING = 0.02
"""Share of frames left out."""


class FrameBudget:
    """Which frames are taken (a token bucket).

    Args:
        frame_rate_hz: for which the window was made.
    """

    def __init__(self, frame_rate_hz: float) -> None:
        self._rate_hz = frame_rate_hz
        self.clear()

    def clear(self) -> None:
        """The stream starts anew."""
        self._in_hand, self._newest_ns = BURST, None
        self.offered = self.left_out = 0
        self._told = 0, 0
        self._cameras: deque[int] = deque(maxlen=MEMORY)

    def takes(self, stamp_ns: int, cameras: int = 1) -> bool:
        """Whether there is room for a frame to which so many cameras contribute. Stamps increase."""
        if self._newest_ns is not None:
            self._in_hand = min(BURST, self._in_hand + (stamp_ns - self._newest_ns) * 1e-9 * self._rate_hz * ROOM)
        fewer = cameras < max(self._cameras, default=0)
        self._newest_ns = stamp_ns
        self._cameras.append(cameras)
        taken = self._in_hand >= 1 + FEWER_WAIT * fewer
        self._in_hand -= taken
        self.offered, self.left_out = self.offered + 1, self.left_out + (not taken)
        return taken

    def rows(self) -> list[tuple[int, str, str, dict[str, Any]]]:
        """For diagnostics (level, name, sentence, values): a warning where frames were left out since this was asked last."""
        (offered, left_out), self._told = self._told, (self.offered, self.left_out)
        problem = self._problem(self.offered - offered, self.left_out - left_out)
        return [(1, "frame rate", problem, {"offered": self.offered, "left_out": self.left_out})] if problem else []

    @property
    def problem(self) -> str:
        """A sentence where frames were left out since the stream started; "" = none worth telling."""
        return self._problem(self.offered, self.left_out)

    def _problem(self, offered: int, left_out: int) -> str:
        if left_out <= WORTH_TELLING * offered:
            return ""
        return (
            f"{left_out} of {offered} frames were left out, since they come faster than the frame rate that was set ({self._rate_hz:g} Hz); "
            "set that of the fastest camera (stream.frame_rate_hz, --frame-rate)."
        )
