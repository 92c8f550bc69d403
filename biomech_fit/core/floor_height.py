"""How high heels and toes are when they stand: the floor may be another one later, as on the treadmill that somebody steps onto."""

from __future__ import annotations

from collections import deque
from math import inf, isfinite

from biomech_fit.core.foot_motion import FootSample

DEEP_M, DIP_S = 0.03, 0.1
"""A point that is deeper than this below its floor must stay there for so long; otherwise it was the fit that dipped."""
HOVER_M, HOVER_S = 0.02, 0.8
"""Nobody hovers: where all points have been higher than this over their floors for so long, longer than a leap, the floor is higher."""
_MISSED_S = 0.25
"""A foot that was not seen for so long may have stood meanwhile."""


class FloorHeight:
    """Heights (m) of both feet's heels and toes on the floor, each point's own. Feet are numbered 0 and 1, points 0 (heel) and 1 (toe)."""

    def __init__(self) -> None:
        self._feet = (_Foot(), _Foot())

    @property
    def height(self) -> float:
        """m, of the lower of heel and toe, by the foot that says higher: one may have dipped. Inf before anything was seen."""
        seen = [foot.ground for foot in self._feet if isfinite(foot.ground[0])]
        return min(map(max, zip(*seen, strict=True)), default=inf)

    def lifts(self, foot: int, sample: FootSample) -> tuple[float, float]:
        """m, of heel and toe over their floors."""
        ground = self._feet[foot].ground
        return sample.position[2] - ground[0], sample.position[5] - ground[1]

    def observe(self, foot: int, sample: FootSample) -> bool:
        """Takes a foot's next instant; True where the floor has turned out to be higher, so that all that was said of late is to be said anew."""
        self._feet[foot].observe(sample.t, (sample.position[2], sample.position[5]))
        rise = min(feet.hovers(sample.t) for feet in self._feet)
        if rise <= HOVER_M:
            return False
        for feet in self._feet:
            feet.raise_by(rise)
        return True

    def follow(self, foot: int, point: int, height: float, share: float) -> None:
        """A point rests at a height (m): its floor takes over a share of the difference."""
        ground = self._feet[foot].ground
        ground[point] += share * (height - ground[point])


class _Foot:
    def __init__(self) -> None:
        self.ground = [inf] * 2
        self._recent: deque[tuple[float, float, float]] = deque()
        self._lows: deque[tuple[float, float]] = deque()
        """(t, lift of the lower point): the last HOVER_S, without those that a later one undercuts."""
        self._since = inf
        self._newest = -inf

    def observe(self, t: float, heights: tuple[float, float]) -> None:
        if t - self._newest > _MISSED_S:
            self._recent.clear()
            self._lows.clear()
            self._since = t
        self._newest = t
        self._recent.append((t, *heights))
        while self._recent[0][0] < t - DIP_S:
            self._recent.popleft()
        for p, z in enumerate(heights):
            if z > self.ground[p] - DEEP_M:
                self.ground[p] = min(self.ground[p], z)
            elif t - self._since >= DIP_S or not isfinite(self.ground[p]):
                self.ground[p] = min(self.ground[p], max(past[1 + p] for past in self._recent))
        low = min(z - ground for z, ground in zip(heights, self.ground, strict=True))
        while self._lows and self._lows[-1][1] >= low:
            self._lows.pop()
        self._lows.append((t, low))
        while self._lows[0][0] < t - HOVER_S:
            self._lows.popleft()

    def hovers(self, t: float) -> float:
        """m, how high at least it has been over its floor for HOVER_S; 0 where that is not known."""
        known = self._lows and t - self._newest < _MISSED_S and self._newest - self._since >= HOVER_S
        return self._lows[0][1] if known else 0.0

    def raise_by(self, rise: float) -> None:
        self.ground = [ground + rise for ground in self.ground]
        self._lows = deque((t, low - rise) for t, low in self._lows)
