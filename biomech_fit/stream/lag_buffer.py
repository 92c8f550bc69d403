"""The frames of a window, and which of them comes out smoothed next."""

from __future__ import annotations

from collections import deque

from biomech_fit.core.readout import Seen
from biomech_fit.stream.association import Views

LATE_PERIODS = 3
"""A frame may come out so many nominal frame periods later than the lag, so that jitter costs none."""


class LagBuffer:
    """The newest frames in the window's slots, oldest first. Each comes out once, when it is `lag_s` behind the newest, whatever the frame rate.

    One frame comes out per frame taken. Where the rate has just fallen, more get due at once: then some never come out.

    Args:
        slots: frames in the window.
        lag_s: s.
        period_s: nominal frame period; where frames come faster, the window is full before the lag is, and they come out before they leave it.
    """

    def __init__(self, slots: int, lag_s: float, period_s: float) -> None:
        self._lag_ns, self._period_ns = lag_s * 1e9, period_s * 1e9
        self._frames: deque[tuple[Seen, Views] | None] = deque([None] * slots, maxlen=slots)
        self._given_ns: int | None = None

    def __getitem__(self, slot: int) -> tuple[Seen, Views]:
        frame = self._frames[slot]
        assert frame is not None
        return frame

    def add(self, seen: Seen, views: Views) -> None:
        """The newest frame."""
        self._frames.append((seen, views))

    def due(self, start_ns: int) -> int | None:
        """Slot of the frame that comes out now, and will not again; None = none does. Frames before `start_ns` have left the window's time."""
        newest_ns = self[-1][0].stamp_ns
        age_ns = {slot: newest_ns - self[slot][0].stamp_ns for slot in self.rest(start_ns)}
        due = [slot for slot, age in age_ns.items() if age > self._lag_ns - self._period_ns / 2 or slot <= 1]
        if not due:
            return None
        slot = next((slot for slot in due if age_ns[slot] <= self._lag_ns + LATE_PERIODS * self._period_ns), due[-1])
        self._given_ns = self[slot][0].stamp_ns
        return slot

    def rest(self, start_ns: int) -> list[int]:
        """Slots of the frames that have not come out, and still can."""
        earliest = start_ns if self._given_ns is None else max(self._given_ns + 1, start_ns)
        return [slot for slot, frame in enumerate(self._frames) if frame is not None and frame[0].stamp_ns >= earliest]

    def step_s(self) -> float:
        """s from the frame before the newest to the newest; the nominal period where there are not two."""
        before, newest = self._frames[-2], self._frames[-1]
        step_ns = self._period_ns if before is None or newest is None else max(newest[0].stamp_ns - before[0].stamp_ns, 1)
        return step_ns * 1e-9

    @property
    def newest_ns(self) -> int:
        """Stamp of the newest frame; 0 = none."""
        return 0 if self._frames[-1] is None else self[-1][0].stamp_ns
