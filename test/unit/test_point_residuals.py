"""3D points as observations of the window solver: derivatives, an error that a frame's points share, directions of bones, no camera at all."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_example import ARM, central, mujoco_points, qpos_of, toy
from test_solver import converted, options, prior_of

from biomech_fit.core import linear, robust, spline
from biomech_fit.core.frame_terms import on_control_points
from biomech_fit.core.point_residuals import PointCosts, PointObservations, point_terms
from biomech_fit.core.program import program
from biomech_fit.core.projection import camera_arrays
from biomech_fit.core.solver import Frame, WindowSolver
from biomech_fit.core.window import Window, empty_window

BONES = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (0, 3))
VARIANTS = {"positions": PointCosts(), "drifting": PointCosts(drift_std_m=0.4), "directions": PointCosts(bones=BONES)}


@pytest.mark.parametrize("name", VARIANTS)
def test_normal_equations_are_the_derivatives_of_the_cost(name: str) -> None:
    """By pose, scales and offsets, with random residuals the right side is minus the cost's gradient, where points fit the matrix is the derivative of the
    right side. float64, steps of 1e-6. No camera. Of directions only the bones' own cost counts: the root's pull to the centre has none."""
    rng = np.random.default_rng(1)
    body = toy(ARM, [1, 1, 2, 2, 3, 3, 3], 2, rng)
    with jax.enable_x64(True):
        solver = WindowSolver(body, 0, options(frames=4, knots=5, leaving_frames=2, points=VARIANTS[name]))
        m, n, knots, k = solver.layout.size, body.mj_model.nv, 5, 7
        assert m == 2 + 3 * k
        slow = 0.01 * rng.standard_normal(m)
        control = 0.2 * rng.standard_normal((knots, n)) + np.r_[0, 0, 1, np.zeros(n - 3)]
        window = empty_window(knots, 4, control[0], np.eye(3), camera_arrays([], jnp.float64), k, prior_of(solver), slow, has_points=True)
        window = window._replace(control=control, u=np.array([0.1, 0.6, 1.2, 1.9]), valid=np.array([0.0, 1.0, 1.0, 1.0]))
        weights = rng.uniform(1e3, 1e4, (4, k)) * (rng.random((4, k)) > 0.2)
        window = converted(window._replace(observed=window.observed._replace(share=np.full(4, 0.5))), jnp.float64)

        def at(z: jax.Array, xyz: np.ndarray) -> Window:
            seen = window.observed._replace(points=PointObservations(jnp.asarray(xyz), jnp.asarray(weights)))
            return window._replace(control=z[: knots * n].reshape(knots, n), slow=z[knots * n :], observed=seen)

        def places(z: jax.Array) -> jax.Array:
            scales, offsets, _, _ = solver.costs.unpack(at(z, np.zeros((4, k, 3))))
            poses = solver.costs.kinematics.poses(spline.basis(window.u, knots)[0] @ z[: knots * n].reshape(knots, n), window.reference, scales)
            return solver.costs.kinematics.keypoints(poses, scales, body.keypoint_body, solver.costs.keypoint_local, offsets).position

        @program
        def normal(z, xyz):
            lin = solver.costs.linearise(at(z, xyz), jnp.asarray(1.0))
            system = on_control_points(window, lin)
            return lin.cost, jnp.concatenate([system.rhs.reshape(-1), lin.corner_rhs]), linear.assemble_dense(system)[0]

        z = np.concatenate([control.reshape(-1), slow])
        exact = np.asarray(places(jnp.asarray(z)))
        slope = -central(lambda v: normal(v, exact)[1], z)
        _, rhs, matrix = normal(z, exact)
        assert np.abs(rhs).max() < 1e-7
        size = np.sqrt(np.diag(matrix))
        assert (np.abs(np.asarray(matrix) - slope) / (size[:, None] * size + 1e-6)).max() < 1e-5
        noisy = exact + 0.03 * rng.standard_normal(exact.shape)
        if name == "directions":  # the information of a bone is taken at its present length, so the gradient is that of fixed information
            return
        gradient = central(lambda v: normal(v, noisy)[0], z)
        if name == "drifting":  # the cost is given at the best common error without the common error's own
            gradient = gradient + central(lambda v: common_cost(np.asarray(places(jnp.asarray(v))), noisy, weights * np.asarray(window.valid)[:, None]), z)
        np.testing.assert_allclose(normal(z, noisy)[1], -gradient, rtol=1e-5, atol=1e-5 * np.abs(gradient).max())


def common_cost(points: np.ndarray, xyz: np.ndarray, weights: np.ndarray, std: float = 0.4, share: float = 0.5) -> float:
    """Of the best common error itself: half |c|^2 / std^2 of each frame."""
    common = np.einsum("tk,tka->ta", weights, xyz - points) / (weights.sum(1) + 1 / std**2)[:, None]
    return float(0.5 * share * (common**2).sum() / std**2)


def test_points_that_stray_together_do_not_pull_the_pose_but_a_stray_point_is_an_outlier() -> None:
    """5 m that all points share leave a pull of no more than 5 m / 0.4 m^2 in sum, and none in shape; one point 3 m off among good ones loses its weight."""
    rng = np.random.default_rng(0)
    points = jnp.asarray(rng.standard_normal((1, 8, 3)), jnp.float32)
    sure, one, kernel = jnp.full((1, 8), 1e4), jnp.ones(1), robust.geman_mcclure
    away = point_terms(points, PointObservations(points + 5.0, sure), one, VARIANTS["drifting"], kernel, jnp.float32(4))
    np.testing.assert_allclose(away.vector, np.broadcast_to(5 / 0.4**2 / 8, (1, 8, 3)), rtol=1e-3)
    strayed = np.array(points + 5.0)
    strayed[0, 3] += 3.0
    terms = point_terms(points, PointObservations(jnp.asarray(strayed), sure), one, VARIANTS["drifting"], kernel, jnp.float32(4))
    weights = np.asarray(terms.matrix)[0, :, 0, 0]
    assert weights[3] < 1e-3 * weights[0] and weights[0] > 0.9e4


@pytest.mark.parametrize("name", VARIANTS)
def test_a_body_follows_points_alone(name: str) -> None:
    """No camera: exact points from MuJoCo C, a fifth of them missing, drive the solver from a start that is 0.2 rad and 0.1 m off. Angles to 0.01 rad
    (motion prior, 33 ms spline), though for drifting points the root strays by decimetres and for directions the points are of a body half as large again."""
    rng = np.random.default_rng(7)
    body = toy(ARM, [1, 1, 1, 2, 2, 3, 3], 2, rng)
    count, k, n = 16, 7, body.mj_model.nv
    u = 8 - 3.5 + 0.5 * np.arange(count)
    path = 0.3 * np.sin(0.15 * u[:, None] + rng.uniform(0, 6, n))
    path[:, 2] += 1.0
    if name == "directions":
        path[:, -1] = 0.0  # the slide is a length
    xyz = np.stack([mujoco_points(body.mj_model, qpos_of(body, x, np.eye(3)), body.keypoint_body, body.keypoint_position) for x in path])
    if name == "drifting":
        xyz = xyz + np.cumsum(0.05 * rng.standard_normal((count, 1, 3)), 0)
    if name == "directions":
        xyz = 1.5 * (xyz - xyz.mean((0, 1))) + xyz.mean((0, 1))
    solver = WindowSolver(body, 0, options(kernel="geman_mcclure", points=VARIANTS[name]))
    m, f32 = solver.layout.size, np.float32
    firm = prior_of(solver)._replace(precision=1e8 * np.eye(m))
    off = np.r_[0.1 * np.ones(3), 0.2 * rng.choice([-1, 1], n - 3)]
    if name == "directions":
        off[-1] = 0.0
    window = empty_window(8, 12, path[0] + off, np.eye(3), camera_arrays([]), k, firm, np.zeros(m), has_points=True)
    moved, found = 0, []
    for i, place in enumerate(u):
        while place - moved >= 5:
            window, moved = solver.shift(window), moved + 1
        seen = PointObservations(f32(xyz[i]), f32((1e6 if name == "directions" else 1e4) * (rng.random(k) > 0.2)))
        frame = Frame(f32(np.zeros((0, k, 2))), f32(np.zeros((0, k))), f32(np.zeros(0)), f32(1), f32(place - moved), np.int32(9), seen)
        window, result, _ = solver.advance(window, frame, 30 if i == 0 else 4, 4.0 if i == 0 else 1.0)
        found.append(jax.device_get(result.frames))
    angles = [3, 4, 5, 6, 7, 8]
    error = np.array([f.x[0] - x for f, x in zip(found, path, strict=True)])
    assert np.isfinite(error).all() and found[-1].uv.shape == (2, 0, k, 2)
    assert np.abs(error[3:, angles]).max() < (0.03 if name == "drifting" else 0.015), np.abs(error[3:]).max(0)
    if name == "positions":
        assert np.abs(error[3:, :3]).max() < 0.005
    else:  # and it is known that the root is not well known
        assert np.sqrt(found[-1].covariance[0, 0, 0]) > 0.05
