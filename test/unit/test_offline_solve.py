"""The offline solve: exact data found again through chunks and charts, its step and covariances against one dense system, a body shared by two recordings."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_example import ARM, mujoco_points, qpos_of, ring, toy, turn
from scipy.spatial.transform import Rotation

from biomech_fit.config.fit import FitConfig
from biomech_fit.config.load import from_mapping
from biomech_fit.core import spline
from biomech_fit.core.linear import assemble_dense
from biomech_fit.core.types import Status
from biomech_fit.core.window import SlowLayout
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.offline import rig as offline_rig
from biomech_fit.offline.fit import OfflineRecording, _by_rig
from biomech_fit.offline.network import NetworkTrajectories
from biomech_fit.offline.rig import Rig
from biomech_fit.offline.solve import MAX_TURN_RAD, OfflineSolve
from biomech_fit.offline.spline_motion import SplineMotion
from biomech_fit.offline.trial import Trial
from biomech_fit.offline.two_stage import InverseKinematics, two_stage
from biomech_fit.stream.camera_estimate import corrected
from biomech_fit.stream.noise_model import noise_before

RATE_HZ, PIXEL_PX = 60.0, 1.0
CHUNK = 8


class Walk:
    """An arm on a trunk that turns round more than once while it moves; pixels by MuJoCo C and OpenCV."""

    def __init__(self, frames: int, turn_rad_s: float, phase: float = 0.0, reach_m: float = 0.0):
        rng = np.random.default_rng(7)
        self.body = replace(toy(ARM, [1, 1, 1, 2, 2, 3, 3], 2, rng), jerk_std=np.full(10, 300.0), acceleration_std=np.full(10, 30.0))
        self.cameras = ring(4)
        time = np.arange(frames) / RATE_HZ
        n = self.body.mj_model.nv
        self.x = 0.2 * np.sin(2.0 * time[:, None] + np.arange(n) + phase)
        self.x[:, 2] += 1.0
        self.x[:, :2] += reach_m * np.sin(np.outer(time, [2.5, 4.0]))
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
    monkeypatch.setattr(offline_rig, "CHUNK_INTERVALS", CHUNK)


def settings(**more: object) -> FitConfig:
    return from_mapping({"noise.pixel_sigma_px": PIXEL_PX, "refine.cameras": False, "refine.clock": False, "noise.correlation_time_s": 0.0} | more, FitConfig())


def solver(walks: list[Walk], trials: list[Trial], config: FitConfig) -> OfflineSolve:
    noise = noise_before(config.noise, len(walks[0].cameras), walks[0].body.keypoint_names)
    return OfflineSolve(walks[0].body, [Rig(walks[0].cameras, trials, noise, RATE_HZ)], config)


def test_a_turning_body_is_found_through_chunks_and_charts() -> None:
    """Exact pixels, a start that is off by 0.2 m and rad. The body turns by 4.6 rad, so that charts must change; what the motion prior and knots
    of 33 ms leave is below 2 mm."""
    walk = Walk(92, 3.0)
    solve = solver([walk], [walk.trial(off=0.2)], settings())
    motion = solve.motions[0][0]
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
    rig, motion = solve._members[0].solver, solve.motions[0][0]
    assert motion.chunks > 2 and all(motion.same_chart(k) for k in range(motion.chunks))
    n, q, m = walk.body.mj_model.nv, len(motion.control), len(solve.slow)
    matrix, rhs = np.zeros((q * n + m, q * n + m)), np.zeros(q * n + m)
    with jax.enable_x64(True):
        matrix[q * n :, q * n :], rhs[q * n :] = solve.slow_prior()
        for chunk, (system, _) in enumerate(rig._systems(0, solve.slow[solve.slow_index(0, 0)], 1.0)):
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
    assert np.abs(step[: q * n]).max() < MAX_TURN_RAD
    np.testing.assert_allclose(motion.control - before, step[: q * n].reshape(q, n), atol=1e-7)
    np.testing.assert_allclose(solve.slow - slow, step[q * n :], atol=1e-7)


def test_doubt_divides_what_the_data_say_of_the_body() -> None:
    """Scales and offsets have the covariance of prior and data, the data's information divided; the prior's step is the one of so little data, too."""
    walk, doubt = Walk(40, 0.3), 5.0
    sure = solver([walk], [walk.trial(noise_px=1.0)], settings())
    doubting = OfflineSolve(walk.body, sure.rigs, settings(), doubt=doubt)
    for solve in (sure, doubting):
        solve.slow[:5] = 0.01
        solve.know_slow()
    body = slice(sure.states_of(0).layout.offsets.stop)
    prior, rhs = sure.slow_prior()
    told = np.linalg.inv(sure.covariance[body, body]) - prior[body, body]
    np.testing.assert_allclose(doubting.covariance[body, body], np.linalg.inv(prior[body, body] + told / doubt), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(doubting.slow_prior()[1][body], doubt * rhs[body])


def test_only_wide_priors_of_legs_count_less() -> None:
    """Twists of the arms are hardly seen and keep their prior; so do narrow ones."""
    body = load_body_model(None, load_keypoint_set("halpe_26"))
    wider = offline_rig._with_wide_poses(body).pose_std > body.pose_std
    changed = {name[:-2] for name, more in zip(body.coordinate_names, wider, strict=True) if more}
    assert changed == {"hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle"}


def test_a_wrong_lens_is_found() -> None:
    """One camera's focal length 1 % too long and its k1 off by 0.03, a body that comes near and goes far: found to 0.2 % and a fifth; held, the pixels stay
    further from the body."""
    walk = Walk(90, 0.3, reach_m=1.0)
    trial = walk.trial(noise_px=0.3)
    states = np.zeros((len(walk.cameras), 3))
    states[1] = np.log(1.01), 0.03, 0.0
    walk.cameras = corrected(walk.cameras, np.r_[np.zeros(7 * len(walk.cameras)), states.ravel()])
    solve = solver([walk], [trial], settings(**{"refine.cameras": True, "refine.intrinsics": "focal_distortion", "noise.pixel_sigma_px": 0.3}))
    costs = []
    for lenses in (False, True):
        solve.free_cameras(poses=True, lenses=lenses)
        costs.append(solve.solve(15, 1e-5))
        found = solve.slow[solve.states_of(0).layout.lenses].reshape(-1, 3)
        assert lenses or np.abs(found).max() < 1e-5
    assert costs[1] < costs[0] - 100
    assert np.abs(found[:, 0] + states[:, 0]).max() < 2e-3
    assert abs(found[1, 1] + 0.03) < 6e-3
    true = walk.cameras[1].matrix[0, 0] / 1.01
    assert solve.refined(0)[1].matrix[0, 0] == pytest.approx(true, rel=2e-3)


def test_a_network_follows_exact_pixels() -> None:
    """Trained for a few hundred steps from a start that is off by 0.1 m and rad, with a body that turns by 4.6 rad: a few millimetres, finite covariances."""
    walk = Walk(92, 3.0)
    config = settings(**{"fit.network_steps": 150})
    solve = solver([walk], [walk.trial(off=0.1)], config)
    said: list[str] = []
    networks = NetworkTrajectories(solve, config, said.append)
    ((_, _, start),) = solve.uncertainty()
    first = float(np.median(1e3 * np.linalg.norm(start.keypoints - walk.points, axis=-1)))
    networks.train()
    ((_, _, readout),) = solve.uncertainty()
    error_mm = 1e3 * np.linalg.norm(readout.keypoints - walk.points, axis=-1)
    assert np.median(error_mm) < 5.0 < 0.1 * first
    assert np.isfinite(readout.covariance).all() and "150 of 150" in said[-1]
    # Joints are within their ranges by construction.
    limited = np.isfinite(walk.body.lower) & np.isfinite(walk.body.upper)
    assert (readout.x[:, limited] >= walk.body.lower[limited] - 1e-6).all() and (readout.x[:, limited] <= walk.body.upper[limited] + 1e-6).all()


def test_two_stages_find_the_same_body() -> None:
    """Robust triangulation and inverse kinematics on exact pixels: what remains is the 6 Hz filter's. Left-out detections are those that are judged."""
    walk = Walk(60, 0.3)
    trial = walk.trial(off=0.1)
    ik = InverseKinematics(walk.body, np.zeros(len(walk.body.scale_names)), np.zeros((len(walk.body.keypoint_names), 3)))
    mask = np.zeros(trial.confidence.shape, bool)
    mask[::5, 1] = True
    found = two_stage(ik, trial, walk.cameras, walk.cameras, mask, walk.uv + 1.0)
    assert np.nanmedian(found.loaded) < 0.5 and np.array_equal(found.loaded, found.refined)
    assert found.held_out is not None and found.fit_held_out is not None
    assert np.isfinite(found.held_out[mask]).all() and np.isnan(found.held_out[~mask]).all()
    np.testing.assert_allclose(found.fit_held_out[mask], np.sqrt(2), rtol=1e-6)
    whole = found.of_set(np.array([False, *[True] * mask.shape[2]]))
    assert np.isnan(whole.loaded[:, :, 0]).all() and np.array_equal(whole.loaded[:, :, 1:], found.loaded)


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


def test_a_start_without_cameras_is_taken() -> None:
    """Where neither cameras nor clocks are estimated, the stream has no such states; the fit always has."""
    walk = Walk(40, 0.3)
    solve = solver([walk], [walk.trial()], settings(**{"refine.cameras": True, "refine.intrinsics": "focal"}))
    own = solve.states_of(0).layout
    theirs = SlowLayout(own.n_scales, own.n_keypoints, 0, own.has_floor)
    values = 0.01 + np.arange(theirs.size)
    solve.start_from([(theirs, values)])
    np.testing.assert_array_equal(solve.slow[own.scales], values[theirs.scales])
    np.testing.assert_array_equal(solve.slow[own.offsets], values[theirs.offsets])
    assert not solve.slow[own.cameras].any() and not solve.slow[own.lenses].any()


def test_recordings_share_a_rig_though_one_lacks_a_camera() -> None:
    """The union of both is the rig; a camera that stands elsewhere makes another."""
    cameras = ring(4)
    moved = [*cameras[:3], replace(cameras[3], translation=cameras[3].translation + 0.1)]
    rigs = {"whole": cameras[:3], "lacking": [cameras[0], cameras[2], cameras[3]], "moved": moved}
    groups = _by_rig([OfflineRecording(name, list(own), RATE_HZ, list) for name, own in rigs.items()])
    assert [[recording.name for recording in members] for _, members in groups] == [["whole", "lacking"], ["moved"]]
    assert [camera.name for camera in groups[0][0]] == [camera.name for camera in cameras]


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
    # Nothing else is known of these frames either: feet, for one, are not taken to rest.
    assert sum(valid.sum() for _, _, valid in solve._members[0].solver._observed[0]) == 90
    assert np.isfinite(readout.keypoints).all()


@pytest.mark.parametrize("rad_s", [3.0, 5.9, 6.3, 10.0])
def test_somebody_who_spins_goes_on_turning(rad_s: float) -> None:
    """In the chart of every chunk the control points follow one another, and are the orientations that they were made from; 5.9 rad/s is a turn per chunk."""
    time_s = np.arange(300) / 60
    turn = Rotation.from_rotvec(np.outer(rad_s * time_s, [0.05, 0.0, 1.0])).as_matrix()
    none, frames = np.zeros((300, 1, 1)), len(time_s)
    trial = Trial("spin", np.round(time_s * 1e9).astype(np.int64), np.zeros((300, 1, 1, 2)), none, none[:, 0], np.zeros(300), np.zeros((frames, 6)), turn)
    motion = SplineMotion(trial, 1 / 30, 32, True)
    for chunk in range(motion.chunks):
        points = motion.local(chunk)[:, 3:6]
        sites = np.clip(chunk * 32 + np.arange(len(points)) - 1, 0, None)
        real = 2 * sites < frames
        assert np.linalg.norm(np.diff(points[real], axis=0), axis=1).max() < 2 * rad_s / 30
        made = motion.reference[chunk] @ Rotation.from_rotvec(points[real]).as_matrix()
        off = Rotation.from_matrix(np.swapaxes(turn[2 * sites[real]], 1, 2) @ made).magnitude()
        assert off.max() < 1.1 * rad_s / 60  # the nearest frame
