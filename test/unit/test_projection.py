"""The JAX projection against OpenCV and finite differences."""

from __future__ import annotations

from dataclasses import replace

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biomech_fit.core.camera import Camera
from biomech_fit.core.projection import camera_arrays, distort_and_jacobian, intrinsic_jacobian, lens_flags, project, to_camera_frame
from biomech_fit.stream.camera_estimate import corrected

LENSES = {
    "none": ("none", []),
    "plumb_bob_4": ("plumb_bob", [-0.31, 0.12, 1.2e-3, -8e-4]),
    "plumb_bob_5": ("plumb_bob", [-0.28, 0.09, -7e-4, 1.1e-3, -0.01]),
    "rational": ("rational_polynomial", [0.4, -0.2, 5e-4, -3e-4, 0.03, 0.75, -0.11, 0.05]),
    "equidistant": ("equidistant", [-0.02, 0.012, -0.008, 0.0015]),
}


def make_camera(lens: str, name: str = "cam") -> Camera:
    model, distortion = LENSES[lens]
    rotation = cv2.Rodrigues(np.array([1.1, -0.4, 0.3]))[0]
    matrix = np.array([[1500.0, 0, 960], [0, 1490.0, 545], [0, 0, 1]])
    return Camera(name, 1920, 1080, matrix, model, np.array(distortion), rotation, np.array([0.2, -0.4, 4.0]))


def points_in_view(camera: Camera, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rays = rng.uniform(-0.55, 0.55, (count, 2))
    in_camera = np.column_stack([rays, np.ones(count)]) * rng.uniform(1.0, 8.0, (count, 1))
    in_camera[0] = 0.0, 0.0, 3.0
    return (in_camera - camera.translation) @ camera.rotation


@pytest.mark.parametrize("lens", LENSES)
def test_values_are_opencvs(lens: str) -> None:
    camera = make_camera(lens)
    world = points_in_view(camera, 200)
    rvec = cv2.Rodrigues(camera.rotation)[0]
    if camera.is_fisheye:
        expected, _ = cv2.fisheye.projectPoints(world[:, None], rvec, camera.translation, camera.matrix, camera.distortion)
    else:
        expected, _ = cv2.projectPoints(world[:, None], rvec, camera.translation, camera.matrix, camera.distortion if camera.distortion.size else None)
    has_distortion, has_fisheye = lens_flags([camera])
    uv, valid = project(camera_arrays([camera]), jnp.asarray(world, jnp.float32), has_distortion=has_distortion, has_fisheye=has_fisheye)
    assert valid.all()
    # float32 at 2000 px resolves 1e-4 px; a hundredth of a pixel leaves room for the transformation's rounding.
    np.testing.assert_allclose(np.asarray(uv)[0], expected[:, 0], atol=0.01)
    np.testing.assert_allclose(camera.project(world), expected[:, 0], atol=1e-6)


@pytest.mark.parametrize("lens", LENSES)
def test_jacobian_by_central_differences_in_float64(lens: str) -> None:
    camera = make_camera(lens)
    has_distortion, has_fisheye = lens_flags([camera])
    with jax.enable_x64(True):
        arrays = jax.tree.map(lambda a: a[0], camera_arrays([camera], jnp.float64))
        p = to_camera_frame(arrays, jnp.asarray(points_in_view(camera, 60)))

        def value(q: jax.Array) -> jax.Array:
            return distort_and_jacobian(arrays, q, has_distortion=has_distortion, has_fisheye=has_fisheye)[0]

        _, jacobian, valid = distort_and_jacobian(arrays, p, has_distortion=has_distortion, has_fisheye=has_fisheye)
        assert valid.all()
        step = 1e-6
        for axis in range(3):
            h = step * jnp.eye(3)[axis]
            numeric = (value(p + h) - value(p - h)) / (2 * step)
            np.testing.assert_allclose(jacobian[..., axis], numeric, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("lens", LENSES)
def test_intrinsic_jacobian_is_opencvs(lens: str) -> None:
    """By the logarithm of the focal lengths, k1 and k2, against central differences of OpenCV's pixels."""
    camera = make_camera(lens)
    if not camera.distortion.size:
        camera = replace(camera, distortion_model="plumb_bob", distortion=np.zeros(4))
    world, step = points_in_view(camera, 60), 1e-5

    def moved(state: np.ndarray) -> Camera:
        return corrected([camera], np.r_[np.zeros(7), state])[0]

    with jax.enable_x64(True):
        arrays = jax.tree.map(lambda a: a[0], camera_arrays([camera], jnp.float64))
        p = to_camera_frame(arrays, jnp.asarray(world))
        rows = intrinsic_jacobian(arrays, p, jnp.asarray(camera.project(world)), 3, has_fisheye=camera.is_fisheye)
    for row, axis in zip(rows, step * np.eye(3), strict=True):
        np.testing.assert_allclose(row, (moved(axis).project(world) - moved(-axis).project(world)) / (2 * step), rtol=1e-5, atol=1e-3)


def test_mixed_rig_equals_each_camera_alone() -> None:
    cameras = [make_camera(lens, lens) for lens in LENSES]
    assert lens_flags(cameras) == (True, True)
    world = points_in_view(cameras[0], 50)
    uv, valid = project(camera_arrays(cameras), jnp.asarray(world, jnp.float32), has_distortion=True, has_fisheye=True)
    assert valid.all()
    for c, camera in enumerate(cameras):
        np.testing.assert_allclose(np.asarray(uv)[c], camera.project(world), atol=0.01)


def test_behind_the_camera_is_finite_and_invalid() -> None:
    camera = make_camera("plumb_bob_5")
    arrays = jax.tree.map(lambda a: a[0], camera_arrays([camera]))
    p = jnp.array([[0.0, 0.0, -1.0], [1e6, -1e6, 1e-9], [0.1, 0.1, 0.0], [0.1, 0.1, 2.0]], jnp.float32)
    uv, jacobian, valid = distort_and_jacobian(arrays, p)
    assert valid.tolist() == [False, False, False, True]
    assert jnp.isfinite(uv).all() and jnp.isfinite(jacobian).all()


@pytest.mark.parametrize("lens", ["plumb_bob_4", "equidistant"])
def test_beyond_fold_over_is_invalid_and_never_lands_in_the_image_as_valid(lens: str) -> None:
    camera = make_camera(lens)
    if camera.is_fisheye:
        camera = replace(camera, distortion=np.array([-0.3, 0.0, 0.0, 0.0]))
    angles = np.radians(np.linspace(0, 89, 400))
    p = np.column_stack([np.tan(angles), np.zeros_like(angles), np.ones_like(angles)])
    has_distortion, has_fisheye = lens_flags([camera])
    arrays = jax.tree.map(lambda a: a[0], camera_arrays([camera]))
    uv, _, valid = distort_and_jacobian(arrays, jnp.asarray(p, jnp.float32), has_distortion=has_distortion, has_fisheye=has_fisheye)
    u, valid = np.asarray(uv[:, 0]), np.asarray(valid)
    assert valid[0] and not valid[-1]
    assert np.all(np.diff(u[valid]) > 0), "one to one where valid"
    last = np.flatnonzero(valid)[-1]
    assert not valid[last + 1 :].any(), "one limit, not several folds"
    world = (p - camera.translation) @ camera.rotation
    assert np.array_equal(np.isfinite(camera.project(world)[:, 0]), valid), "the numpy twin draws the same line"


def test_pinhole_rig_compiles_no_lens_model() -> None:
    camera = make_camera("none")
    assert lens_flags([camera]) == (False, False)
    arrays = jax.tree.map(lambda a: a[0], camera_arrays([camera]))
    p = jnp.ones((4, 3))
    cheap = jax.make_jaxpr(lambda q: distort_and_jacobian(arrays, q, has_distortion=False, has_fisheye=False))(p)
    full = jax.make_jaxpr(lambda q: distort_and_jacobian(arrays, q, has_distortion=True, has_fisheye=True))(p)
    assert len(cheap.jaxpr.eqns) < len(full.jaxpr.eqns) / 2
