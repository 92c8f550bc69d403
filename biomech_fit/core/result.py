"""What the window solver gives out, as arrays for the host."""

from __future__ import annotations

from typing import NamedTuple

from jax import Array


class Readout(NamedTuple):
    """Frames of the window, as arrays for the host; all but `reference` carry the frame as leading axis."""

    x: Array
    """(N,)"""
    velocity: Array
    """(N,)"""
    reference: Array
    """(3, 3)"""
    covariance: Array
    """(N, N)"""
    keypoints: Array
    """(K, 3) m."""
    keypoint_velocity: Array
    """(K, 3) m/s."""
    keypoint_covariance: Array
    """(K, 3, 3) m^2, world axes."""
    joint_centres: Array
    """(J, 3) m."""
    error_px: Array
    """(C, K) reprojection error; meaningless where nothing was observed."""
    uv: Array
    """(C, K, 2) px, reprojected keypoints."""

    def only(self, frames: slice) -> Readout:
        """Some of the frames."""
        return Readout(*(a if name == "reference" else a[frames] for name, a in zip(self._fields, self, strict=True)))


class Result(NamedTuple):
    """What one call of `advance` or `advance_held` returns besides the window."""

    frames: Readout
    """Two frames (leading axis): the newest and the lagged one."""
    slow: Array
    """(M,)"""
