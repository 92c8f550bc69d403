"""How often the slow states take part in a step: the more has been seen, the less a new frame says of them."""

from __future__ import annotations

STEP_S = 0.195
"""They are held for so long at least."""
SURE_S, STEP_SHARE, STEP_MOST_S = 3.0, 0.1, 2.0
"""When they have been estimated for longer than the first: for this share of the time since then, up to the last."""


class SlowPace:
    """Of one track. Nothing was estimated before it begins."""

    def __init__(self) -> None:
        self._from_ns = self._last_ns = 0

    def begin(self, stamp_ns: int) -> None:
        """Some are estimated anew from here on."""
        self._from_ns = stamp_ns

    def stepped(self, stamp_ns: int) -> None:
        """They took part in this frame's step."""
        self._last_ns = stamp_ns

    def due(self, stamp_ns: int) -> bool:
        """Whether they should take part in this frame's step."""
        sure_s = 1e-9 * (stamp_ns - self._from_ns) - SURE_S
        return stamp_ns - self._last_ns >= 1e9 * min(max(STEP_S, STEP_SHARE * sure_s), STEP_MOST_S)
