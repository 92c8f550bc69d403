"""Left and right confused by a detector: a whole view, the legs, the arms, the head, or single pairs; recognised against the predicted body and undone.

Each left-right pair of keypoints in each camera is compared with the predicted pixels as labelled and with the labels exchanged. The difference of the
two bounded robust costs (Geman and McClure 1987) is a log-likelihood ratio; over the pairs of a limb, and of the whole body, it adds up:

    gain = rho(|l - L|^2 + |r - R|^2) - rho(|r - L|^2 + |l - R|^2),  rho(m) = m a / 2 (a + m)

A pair counts as one: a camera that is off by about the distance of the legs would otherwise make one leg look like the other. Where left and right
nearly coincide, as in a side view, the gain is nearly 0, nothing is done, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from biomech_fit.core.body import BodyModel
from biomech_fit.stream.association import Views

MARGIN = 10.0
"""Log-likelihood difference from which on an exchange is clear: with 1440 decisions a second (8 cameras, 3 limbs, 60 Hz), none is wrong in minutes."""
PAIR_MARGIN = 12.0
"""The same for a single pair, which outliers can imitate; a pair's greatest gain is `kernel_scale` squared, 16."""
DOUBT = 4.0
"""A pair whose exchange is better by this, but not clearly, is left out of the frame."""
ACCELERATION_M_S2, HEIGHT_M = 40.0, 1.7
"""Of a swinging foot: what the prediction, at constant velocity, does not know. A body's height, roughly, as a scale for its pixels."""
START_PX = 10.0
"""Standard deviation of pixels predicted by triangulation, where a track begins."""
PATIENCE_S = 0.5
"""When most cameras say for this long that left and right are exchanged, it is the body that is wrong."""


@dataclass(frozen=True, eq=False)
class Undone:
    """The views with left and right put right."""

    views: Views
    exchanged: np.ndarray
    """(C,) cameras in which something was exchanged."""
    mirrored: bool
    """Most cameras disagree with the body, and have done so for long: its left is its right."""


class SideSwaps:
    """Watches one person's left and right.

    Args:
        body: the solver's keypoints; which limb a pair belongs to is read from the tree.
        mirror: (K,) left-right partner of each keypoint, itself on the midline.
        kernel_scale: of the robust kernel, in standard deviations.
    """

    def __init__(self, body: BodyModel, mirror: Sequence[int], kernel_scale: float):
        partner = np.asarray(mirror)
        self._left = np.flatnonzero(partner > np.arange(len(partner)))
        self._right = partner[self._left]
        self._pairs, self._others = np.concatenate([self._left, self._right]), np.concatenate([self._right, self._left])
        branches = [_branch(body, int(a), int(b)) for a, b in zip(body.keypoint_body[self._left], body.keypoint_body[self._right], strict=True)]
        self._limbs = np.array([[branch == other for branch in branches] for other in sorted(set(branches))], float).reshape(-1, len(branches)).T
        self._scale = kernel_scale
        self.forget()

    def forget(self) -> None:
        """Nobody is followed any more."""
        self._against_since: int | None = None
        self._told = False

    def undo(self, stamp_ns: int, views: Views, predicted: np.ndarray, sigma_px: np.ndarray) -> Undone:
        """Compare a frame with the body's predicted pixels (C, K, 2), NaN = not known; sigma (C, K) px is of their differences, per axis."""
        cameras = len(views.xy)
        if not len(self._left):
            return Undone(views, np.zeros(cameras, bool), False)
        gain = self._gains(views, predicted, sigma_px)
        limb_gain = gain @ self._limbs
        by_limb, total = np.where(limb_gain > MARGIN, limb_gain - MARGIN, 0.0), gain.sum(1)
        whole = (total - MARGIN >= by_limb.sum(1)) & (total > MARGIN)
        exchanged = whole[:, None] | ((by_limb > 0) @ self._limbs.T > 0) | (gain > PAIR_MARGIN)
        # Within what is exchanged, a pair that clearly was not confused stays.
        exchanged &= gain > -PAIR_MARGIN
        doubtful = ~exchanged & (gain > DOUBT)
        return Undone(self._rebuilt(views, exchanged, doubtful), exchanged.any(1), self._is_mirrored(stamp_ns, total))

    def _gains(self, views: Views, predicted: np.ndarray, sigma_px: np.ndarray) -> np.ndarray:
        """(C, P) by how much exchanging each pair lowers its cost; 0 where it is not seen."""
        count = len(self._left)
        xy, pixels, other = views.xy[:, self._pairs], predicted[:, self._pairs], predicted[:, self._others]
        seen = views.confidence[:, self._pairs] > 0
        counted, weight = seen & np.isfinite(pixels[..., 0] + other[..., 0]), sigma_px[:, self._pairs] ** -2
        straight, crossed = (np.where(counted, weight * _squared(xy, p), 0.0) for p in (pixels, other))
        straight, crossed = (cost[:, :count] + cost[:, count:] for cost in (straight, crossed))
        a = self._scale**2 * np.maximum(seen[:, :count].astype(float) + seen[:, count:], 1.0)
        return 0.5 * a * (straight / (a + straight) - crossed / (a + crossed))

    def _rebuilt(self, views: Views, exchanged: np.ndarray, doubtful: np.ndarray) -> Views:
        if not (exchanged.any() or doubtful.any()):
            return views
        xy, confidence = views.xy.copy(), views.confidence.copy()
        c, p = np.nonzero(exchanged)
        left, right = self._left[p], self._right[p]
        xy[c, left], xy[c, right] = views.xy[c, right], views.xy[c, left]
        confidence[c, left], confidence[c, right] = views.confidence[c, right], views.confidence[c, left]
        c, p = np.nonzero(doubtful)
        for side in (self._left[p], self._right[p]):
            xy[c, side], confidence[c, side] = np.nan, 0.0
        return replace(views, xy=xy, confidence=confidence)

    def _is_mirrored(self, stamp_ns: int, total: np.ndarray) -> bool:
        """Told once, until most cameras have agreed with the body again: a detector that names the sides wrongly for good is not to start the fit anew
        again and again."""
        against, agree = int((total > MARGIN).sum()), int((total < -MARGIN).sum())
        if against <= max(agree, 1):
            self._against_since = None
            self._told &= agree <= against
            return False
        self._against_since = stamp_ns if self._against_since is None else self._against_since
        mirrored = not self._told and (stamp_ns - self._against_since) * 1e-9 > PATIENCE_S
        self._told |= mirrored
        return mirrored


def ahead_px(predicted: np.ndarray, step_s: float) -> np.ndarray:
    """(C,) px by which a prediction (C, K, 2), NaN = not known, over `step_s` may be wrong: half the acceleration times the time squared, as large as the
    camera sees it."""
    height_px = (np.fmax.reduce(predicted, axis=1) - np.fmin.reduce(predicted, axis=1)).max(1)
    metre_px = np.nan_to_num(height_px) / HEIGHT_M
    return 0.5 * ACCELERATION_M_S2 * step_s**2 * metre_px


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    d = a - b
    return d[..., 0] ** 2 + d[..., 1] ** 2


def _branch(body: BodyModel, left: int, right: int) -> tuple[int, int]:
    """The limb that a pair on two bodies is part of: where the paths to the root meet, and the first body of the right one's; a trunk's pair is on one."""
    parent = body.mj_model.body_parentid
    above = {left}
    while left:
        left = int(parent[left])
        above.add(left)
    below = right
    while right not in above:
        below, right = right, int(parent[right])
    return right, below
