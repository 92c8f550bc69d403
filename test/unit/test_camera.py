"""The numpy camera: undistortion inverts projection, geometry, and checks that name camera and field."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from biomech_fit.core.camera import Camera, check_camera, fold_over_tan_squared
from biomech_fit.core.errors import InputError

LENSES = {
    "none": [],
    "plumb_bob": [-0.28, 0.09, -7e-4, 1.1e-3, -0.01],
    "rational_polynomial": [0.4, -0.2, 5e-4, -3e-4, 0.03, 0.75, -0.11, 0.05],
    "equidistant": [-0.02, 0.012, -0.008, 0.0015],
}


def make(model: str = "none") -> Camera:
    matrix = np.array([[1500.0, 0, 960], [0, 1490.0, 545], [0, 0, 1]])
    rotation = cv2.Rodrigues(np.array([1.1, -0.4, 0.3]))[0]
    return Camera("left", 1920, 1080, matrix, model, np.array(LENSES[model], float), rotation, np.array([0.2, -0.4, 4.0]))


@pytest.mark.parametrize("model", LENSES)
def test_undistort_inverts_project_over_the_whole_image(model: str) -> None:
    camera = make(model)
    xy = np.stack(np.meshgrid(np.linspace(0, 1919, 20), np.linspace(0, 1079, 12)), -1).reshape(-1, 2)
    rays = camera.undistort(xy)
    assert np.isfinite(rays).all()
    world = (np.column_stack([rays, np.ones(len(rays))]) * 3.0 - camera.translation) @ camera.rotation
    np.testing.assert_allclose(camera.project(world), xy, atol=1e-3)


@pytest.mark.parametrize("model", LENSES)
def test_missing_and_unreachable_pixels_are_nan(model: str) -> None:
    camera = make(model)
    rays = camera.undistort(np.array([[np.nan, 5.0], [960.0, 545.0], [1e6, 1e6]]))
    assert np.isnan(rays[0]).all() and np.allclose(rays[1], 0, atol=1e-9)
    assert np.isnan(rays[2]).all() or model == "none"
    assert camera.undistort(np.zeros((0, 2))).shape == (0, 2) and camera.project(np.zeros((0, 3))).shape == (0, 2)


def test_geometry() -> None:
    camera = make()
    np.testing.assert_allclose(camera.projection_matrix @ [*camera.centre, 1], 0, atol=1e-12)
    ahead = camera.centre + camera.rotation[2] * 2
    np.testing.assert_allclose(camera.project(ahead[None]), [[960, 545]], atol=1e-9)
    assert np.isnan(camera.project((camera.centre - camera.rotation[2])[None])).all() and np.isnan(camera.project(np.full((1, 3), np.nan))).all()


def test_fold_over_radius() -> None:
    # r (1 + k1 r^2) has its maximum at r^2 = -1 / (3 k1).
    assert fold_over_tan_squared("plumb_bob", np.array([-0.3, 0, 0, 0])) == pytest.approx(1 / 0.9)
    assert fold_over_tan_squared("none", np.zeros(0)) == np.inf == fold_over_tan_squared("plumb_bob", np.zeros(5))
    # theta (1 + k1 theta^2): theta^2 = -1 / (3 k1).
    assert fold_over_tan_squared("equidistant", np.array([-0.3, 0, 0, 0])) == pytest.approx(np.tan(np.sqrt(1 / 0.9)) ** 2)
    # 1 / (1 + k4 r^2) of the rational model has its pole at r^2 = -1 / k4.
    assert fold_over_tan_squared("rational_polynomial", np.array([0, 0, 0, 0, 0, -0.5, 0, 0])) <= 2.0


@pytest.mark.parametrize(
    "change,expected",
    [
        ({"width": 0}, "size"),
        ({"matrix": np.eye(2)}, r"matrix must have the shape \(3, 3\)"),
        ({"matrix": np.diag([-1.0, 1, 1])}, "focal lengths in matrix"),
        ({"matrix": np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]])}, "skew"),
        ({"matrix": np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 2]])}, "form"),
        ({"rotation": np.eye(3) * 1.1}, "rotation is not a rotation matrix"),
        ({"rotation": np.diag([1.0, 1, -1])}, "rotation is not a rotation matrix"),
        ({"translation": np.array([0, np.nan, 0])}, "translation has a value that is not finite"),
        ({"distortion_model": "thin_prism"}, "valid are none, plumb_bob, rational_polynomial, equidistant"),
        ({"distortion": np.zeros(3)}, "takes 0 coefficients, not 3"),
        ({"distortion_model": "plumb_bob", "distortion": np.full(4, np.inf)}, "distortion has a value that is not finite"),
    ],
)
def test_check_names_camera_and_field(change: dict, expected: str) -> None:
    check_camera(make())
    with pytest.raises(InputError, match=f"Camera 'left': .*{expected}"):
        check_camera(replace(make(), **change))
