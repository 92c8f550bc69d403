"""What the assembler keeps and tells of one camera."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_RECENT = 64
"""Stamps remembered per camera, to know duplicates and the frame period."""
_PERIOD_SAMPLES = 15


@dataclass(frozen=True)
class CameraHealth:
    """What the assembler knows of one camera, counted since the start."""

    alive: bool
    """It sent something within `dead_after_s`."""
    rate_hz: float
    """From the median time between its frames; 0 while unknown."""
    last_stamp_ns: int | None
    received: int
    late: int
    """Packets dropped because their set had already been given out."""
    duplicates: int
    lost: int
    """Sets given out without this camera though it was alive and due, and whose packet did not come later either."""
    bad_stamps: int
    """Packets dropped because their stamp was far from what the other cameras say."""
    lead_s: float
    """How much earlier (positive) or later its packets arrive than the median camera's."""
    clock_offset_s: float
    """Running mean of its stamps minus the sets' stamps."""


@dataclass(eq=False)
class CameraState:
    """Running figures of one camera; times in nanoseconds."""

    recent: deque[int] = field(default_factory=lambda: deque(maxlen=_RECENT))
    gaps: deque[int] = field(default_factory=lambda: deque(maxlen=_PERIOD_SAMPLES))
    period_ns: float | None = None
    last_stamp: int | None = None
    last_arrival: int | None = None
    delay_ns: float | None = None
    """Running arrival minus stamp."""
    lead_ns: float = 0.0
    offset_ns: float = 0.0
    reorder: int = 0
    """By how many frames its packets have been seen out of order."""
    received: int = 0
    late: int = 0
    duplicates: int = 0
    missed: int = 0
    bad_stamps: int = 0

    def stamp_came(self, stamp: int, now: int, delay_limit_ns: float) -> None:
        """Updates period, order and arrival delay from one more stamp that arrived at `now`."""
        if self.last_stamp is not None:
            if stamp > self.last_stamp:
                self.gaps.append(stamp - self.last_stamp)
                if len(self.gaps) >= 5:
                    self.period_ns = sorted(self.gaps)[len(self.gaps) // 2]
            else:
                self.reorder = max(self.reorder, min(8, sum(1 for s in self.recent if s > stamp)))
        self.recent.append(stamp)
        self.last_stamp = stamp if self.last_stamp is None else max(stamp, self.last_stamp)
        self.last_arrival = now
        delay = now - stamp
        if self.delay_ns is None:
            self.delay_ns = delay
        else:  # bounded steps: one hiccup of the network is not a slow camera
            self.delay_ns += max(-delay_limit_ns, min(delay_limit_ns, 0.2 * (delay - self.delay_ns)))

    def forget_stamps(self) -> None:
        """After a restart of the stream; counts, period and clock offset stay."""
        self.recent.clear()
        self.last_stamp = self.last_arrival = self.delay_ns = None
        self.lead_ns = 0.0
