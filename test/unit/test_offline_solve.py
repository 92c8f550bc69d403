"""The offline solve: exact data found again through chunks and charts, its step and covariances against one dense system, a body shared by two recordings."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_example import ARM, mujoco_points, qpos_of, ring, toy, turn

from biomech_fit.config.fit import FitConfig
from biomech_fit.config.load import from_mapping
from biomech_fit.core import spline
from biomech_fit.core.linear import assemble_dense
from biomech_fit.core.types import Status
from biomech_fit.offline import solve as offline
from biomech_fit.offline.solve import OfflineSolve, Rig
from biomech_fit.offline.trial import Trial
from biomech_fit.stream.noise import DetectorNoise

RATE_HZ, PIXEL_PX = 60.0, 1.0
CHUNK = 8


class Walk:
    """An arm on a trunk that turns round more than once while it moves; pixels by MuJoCo C and OpenCV."""

    def __init__(self, frames: int, turn_rad_s: float, phase: float = 0.0):
        rng = np.random.default_rng(7)
        self.body = replace(toy(ARM, [1, 1, 1, 2, 2, 3, 3], 2, rng), jerk_std=np.full(10, 300.0), acceleration_std=np.full(10, 30.0))
        self.cameras = ring(4)
        time = np.arange(frames) / RATE_HZ
        n = self.body.mj_model.nv
        self.x = 0.2 * np.sin(2.0 * time[:, None] + np.arange(n) + phase)
        self.x[:, 2] += 1.0
        self.x[:, 3:6] = 0.0
        self.turns = np.array([turn(np.array([0.2 * np.sin(t), 0.1, 0.0])) @ turn(np.array([0.0, 0.0, turn_rad_s * t])) for t in time])
        model, body = self.body.mj_model, self.body
        self.points = np.stack(
            [mujoco_points(model, qpos_of(body, x, r), body.keypoint_body, body.keypoint_position) for x, r in zip(self.x, self.turns, strict=True)]
        )
        self.uv = np.stack([c.project(self.points.reshape(-1, 3)).reshape(frames, -1, 2) for c in self.cameras], 1)
        self.stamps = np.round(1e9 * time).astype(np.int64)

    def trial(self, off: float = 0.0, noise_px: float = 0.0) -> Trial:
        rng = np.random.default_rng(3)
        shape = self.uv.shape[:3]
        guess = self.x + off * np.sin(np.arange(self.x.shape[1]))
        guess[:, 3:6] = 0.0
        uv = self.uv + noise_px * rng.standard_normal(self.uv.shape)
        return Trial("walk", self.stamps, uv, np.ones(shape), np.zeros(shape[:2]), np.full(len(uv), Status.OK), guess, self.turns)


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "CHUNK_INTERVALS", CHUNK)


def settings(**more: object) -> FitConfig:
    return from_mapping({"noise.pixel_sigma_px": PIXEL_PX, "refine.cameras": False, "refine.clock": False, "noise.correlation_time_s": 0.0} | more, FitConfig())


def solver(walks: list[Walk], trials: list[Trial], config: FitConfig) -> OfflineSolve:
    noise = DetectorNoise(config.noise, len(walks[0].cameras), len(walks[0].body.keypoint_names)).model
    return OfflineSolve(walks[0].body, [Rig(walks[0].cameras, trials, noise, RATE_HZ)], config)


def test_a_turning_body_is_found_through_chunks_and_charts() -> None:
    """Exact pixels, a start that is off by 0.2 m and rad. The body turns by 4.6 rad, so that charts must change; what the motion prior and knots
    of 33 ms leave is below 2 mm."""
    walk = Walk(92, 3.0)
    solve = solver([walk], [walk.trial(off=0.2)], settings())
    motion = solve._rigs[0].motions[0]
    assert motion.chunks > 4 and not all(motion.same_chart(k) for k in range(motion.chunks))
    solve.solve(30, 1e-5)
    (_, _, readout) = next(iter(solve.uncertainty()))
    error_mm = 1e3 * np.linalg.norm(readout.keypoints - walk.points, axis=-1)
    assert error_mm.max() < 2.0
    # Orientations are continuous where one chart ends and the next begins.
    turns = np.array([r @ turn(x[3:6]) for r, x in zip(readout.reference, readout.x, strict=True)])
    steps = [np.linalg.norm(a.T @ b - np.eye(3)) for a, b in pairwise(turns)]
    assert max(steps) < 1.5 * np.median(steps)


def test_step_and_covariances_are_those_of_one_dense_system() -> None:
    """All chunks put into one matrix, solved and inverted by LAPACK."""
    walk = Walk(60, 0.3)
    solve = solver([walk], [walk.trial(off=0.02, noise_px=1.0)], settings(**{"refine.cameras": True, "refine.clock": True}))
    state, motion = solve._rigs[0], solve._rigs[0].motions[0]
    assert motion.chunks > 2 and all(motion.same_chart(k) for k in range(motion.chunks))
    n, q, m = walk.body.mj_model.nv, len(motion.control), len(solve.slow)
    matrix, rhs = np.zeros((q * n + m, q * n + m)), np.zeros(q * n + m)
    with jax.enable_x64(True):
        matrix[q * n :, q * n :], rhs[q * n :] = solve._slow_prior()
        for chunk, (system, _) in enumerate(solve._systems(state, 0, 1.0)):
            own, vector = assemble_dense(system)
            at = np.r_[chunk * CHUNK * n + np.arange((CHUNK + 3) * n), q * n + np.arange(m)]
            matrix[np.ix_(at, at)] += np.asarray(own)
            rhs[at] += np.asarray(vector)
        value = np.asarray(spline.basis(jnp.asarray(motion.u), q)[0])
    readout = next(iter(solve.uncertainty()))[2]
    inverse = np.linalg.inv(matrix)
    blocks = inverse[: q * n, : q * n].reshape(q, n, q, n)
    expected = np.einsum("tq,qnrm,tr->tnm", value, blocks, value, optimize=True)
    # Of blocks whose standard deviations span four orders of magnitude.
    np.testing.assert_allclose(readout.covariance, expected, atol=1e-9 * np.abs(expected).max())
    np.testing.assert_allclose(solve.covariance, inverse[q * n :, q * n :], rtol=1e-6, atol=1e-12)
    before, slow = motion.control.copy(), solve.slow.copy()
    solve.solve(1, 1e-9)
    step = np.linalg.solve(matrix, rhs)
    assert np.abs(step[: q * n]).max() < offline.MAX_TURN_RAD
    np.testing.assert_allclose(motion.control - before, step[: q * n].reshape(q, n), atol=1e-7)
    np.testing.assert_allclose(solve.slow - slow, step[q * n :], atol=1e-7)


def test_two_recordings_tell_more_of_their_common_body_than_one() -> None:
    """The scales' uncertainty (its ellipsoid's volume) is smaller with both, and both motions are found; where the detector aims may differ by millimetres."""
    walks = [Walk(40, 0.3), Walk(40, -0.4, phase=1.0)]
    config = settings()
    alone = solver(walks, [walks[0].trial(noise_px=1.0)], config)
    both = solver(walks, [walk.trial(noise_px=1.0) for walk in walks], config)
    for solve in (alone, both):
        solve.solve(15, 1e-5)
        readouts = list(solve.uncertainty())
    scales = slice(0, 2)
    assert np.linalg.det(both.covariance[scales, scales]) < np.linalg.det(alone.covariance[scales, scales])
    for walk, (_, _, readout) in zip(walks, readouts, strict=True):
        assert np.median(1e3 * np.linalg.norm(readout.keypoints - walk.points, axis=-1)) < 2.0


def test_uncertainty_grows_in_a_gap() -> None:
    """Half a second in which nothing is seen."""
    walk = Walk(120, 0.3)
    trial = walk.trial(noise_px=1.0)
    hidden = np.zeros(trial.confidence.shape, bool)
    hidden[45:75] = True
    solve = solver([walk], [trial.without(hidden)], settings())
    solve.solve(15, 1e-5)
    readout = next(iter(solve.uncertainty()))[2]
    std = np.sqrt(np.einsum("tkii->tk", readout.keypoint_covariance)).mean(1)
    assert std[60] > 5 * std[30] and std[60] > std[50]
    assert np.isfinite(readout.keypoints).all()
