"""One recording of one person as the offline fit takes it: which detection is the person's, how sure it is, and a first guess of the motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import interp1d
from scipy.spatial.transform import Rotation, Slerp

from biomech_fit.core.body import BodyModel
from biomech_fit.core.point_residuals import PointObservations
from biomech_fit.core.quaternions import quat_to_matrix
from biomech_fit.core.types import FrameResult, PoseEstimate, Status
from biomech_fit.stream.noise_model import NoiseModel


@dataclass(frozen=True, eq=False)
class Trial:
    """T frames of C cameras and the K keypoints that the body has."""

    name: str
    stamp_ns: np.ndarray
    """(T,) increasing."""
    xy: np.ndarray
    """(T, C, K, 2) px; 0 where nothing was seen."""
    confidence: np.ndarray
    """(T, C, K); 0 = nothing was seen."""
    delay_s: np.ndarray
    """(T, C) the camera's stamp minus the frame's."""
    status: np.ndarray
    """(T,) values of `core.types.Status`."""
    guess: np.ndarray
    """(T, N) coordinates, the root's rotation vector left at 0."""
    turn: np.ndarray
    """(T, 3, 3) the root's orientation."""
    points: PointObservations | None = None
    """3D points (T, K, 3) and (T, K), where these are observed instead of cameras' keypoints."""

    @property
    def time_s(self) -> np.ndarray:
        """(T,) since the first frame."""
        return (self.stamp_ns - self.stamp_ns[0]) * 1e-9

    @property
    def is_seen(self) -> np.ndarray:
        """(T,) whether anything was seen of the person."""
        seen = self.confidence.any((1, 2))
        return seen if self.points is None else seen | (np.asarray(self.points.information) > 0).any(1)

    def without(self, left_out: np.ndarray) -> Trial:
        """The same without some detections (T, C, K)."""
        return replace(self, confidence=np.where(left_out, 0.0, self.confidence))

    def without_earlier(self, begun: Mapping[int, float]) -> Trial:
        """The same without what some cameras saw up to an instant each (ns): they stood elsewhere then."""
        if not begun:
            return self
        since = np.full(self.confidence.shape[1], -np.inf)
        for c, stamp_ns in begun.items():
            since[c] = stamp_ns
        return self.without((self.stamp_ns[:, None] <= since)[..., None])

    def information(self, noise: NoiseModel, pixel_sigma_px: float) -> np.ndarray:
        """(T, C, K) 1/px^2."""
        return np.where(self.confidence > 0, 1 / noise.sigma_px(self.confidence, pixel_sigma_px) ** 2, 0.0)

    def correlation(self, noise: NoiseModel) -> np.ndarray:
        """(T,) of an error with that of the frame before; the first frame's is that of the next."""
        if noise.correlation_time_s <= 0 or len(self.stamp_ns) < 2:
            return np.zeros(len(self.stamp_ns))
        step_s = np.diff(self.time_s, prepend=self.time_s[0] - (self.time_s[1] - self.time_s[0]))
        return np.exp(-step_s / noise.correlation_time_s)

    def share(self, noise: NoiseModel) -> np.ndarray:
        """(T,) how many independent frames each counts as, see `stream.noise.DetectorNoise.share`."""
        rho = self.correlation(noise)
        return (1 - rho) / (1 + rho)


def trial_of(name: str, results: Sequence[FrameResult], body: BodyModel, mapped: np.ndarray, person: int = 1) -> Trial | None:
    """What the streaming fit says of one person's recording; None where it found nobody. `mapped` (K_set,): the keypoints that the body has."""
    own = [result for result in results if result.person == person]
    late = {result.smoothed.stamp_ns: result.smoothed for result in own if result.smoothed is not None}
    frames = sorted({r.stamp_ns: r for r in own if r.causal is not None or r.smoothed is None}.values(), key=lambda r: r.stamp_ns)
    poses = [late.get(frame.stamp_ns, frame.causal) for frame in frames]
    there = [t for t, pose in enumerate(poses) if pose is not None]
    if not there:
        return None
    first, last = there[0], there[-1] + 1
    frames, poses = frames[first:last], poses[first:last]
    cameras, k = next(f.observed_xy.shape[0] for f in frames if f.observed_xy is not None), int(mapped.sum())
    xy, confidence, delay = np.zeros((len(frames), cameras, k, 2)), np.zeros((len(frames), cameras, k)), np.zeros((len(frames), cameras))
    for t, frame in enumerate(frames):
        if frame.observed_xy is None or frame.observed_confidence is None:
            continue
        seen = np.isfinite(frame.observed_xy[:, mapped]).all(-1)
        confidence[t] = np.where(seen, frame.observed_confidence[:, mapped], 0.0)
        xy[t] = np.where(seen[..., None], frame.observed_xy[:, mapped], 0.0)
        if frame.delay_s is not None:
            delay[t] = frame.delay_s
    stamps = np.array([frame.stamp_ns for frame in frames], np.int64)
    guess, turn = _bridged(stamps, poses, body)
    status = [frame.status if frame.causal is not None else Status.PREDICTED for frame in frames]
    return Trial(name, stamps, xy, confidence, delay, np.array(status), guess, turn)


def _bridged(stamps: np.ndarray, poses: Sequence[PoseEstimate | None], body: BodyModel) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (T, N) and orientations (T, 3, 3); where there is no pose, between those before and after."""
    there = np.array([pose is not None for pose in poses])
    qpos = np.array([pose.qpos for pose in poses if pose is not None])
    time, known = (stamps - stamps[0]) * 1e-9, (stamps[there] - stamps[0]) * 1e-9
    if len(known) == 1:
        qpos, known = np.repeat(qpos, 2, 0), known[0] + np.array([0.0, 1.0])
    free = body.has_free_root
    x = np.concatenate([qpos[:, :3], np.zeros((len(qpos), 3)), qpos[:, 7:]], 1) if free else qpos
    guess = interp1d(known, x, axis=0, bounds_error=False, fill_value=(x[0], x[-1]))(time)
    if not free:
        return guess, np.tile(np.eye(3), (len(time), 1, 1))
    turns = Rotation.from_matrix(np.array([quat_to_matrix(q) for q in qpos[:, 3:7]]))
    return guess, Slerp(known, turns)(np.clip(time, known[0], known[-1])).as_matrix()
