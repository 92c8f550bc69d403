"""One camera's entry of a calibration file: from plain values to a checked `Camera`, with errors that name camera and field."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from biomech_fit.core.camera import DISTORTION_MODELS, Camera, check_camera
from biomech_fit.core.errors import InputError

MODEL_ALIASES = {
    "": "none", "none": "none", "pinhole": "none", "plumb_bob": "plumb_bob", "radtan": "plumb_bob", "radial-tangential": "plumb_bob",
    "rational_polynomial": "rational_polynomial", "equidistant": "equidistant", "fisheye": "equidistant", "kannala_brandt": "equidistant",
}  # fmt: skip
"""Names of distortion models as they occur in files."""


class Entry:
    """Field access for one camera of one file; every failure is an `InputError` that names file, camera and field."""

    def __init__(self, source: str, camera: str, values: dict[str, Any]) -> None:
        self.source, self.camera, self.values = source, camera, values

    def fail(self, problem: str) -> InputError:
        return InputError(f"Calibration '{self.source}', camera '{self.camera}': {problem}.")

    def find(self, *names: str) -> Any:
        """The first of the fields that is there, else None."""
        return next((self.values[n] for n in names if self.values.get(n) is not None), None)

    def need(self, *names: str) -> Any:
        value = self.find(*names)
        if value is None:
            raise self.fail(f"the field '{names[0]}' is missing")
        return value

    def numbers(self, value: Any, field: str, *shapes: tuple[int, ...]) -> np.ndarray:
        """`value` as float64 in the first of `shapes` that has as many numbers; no shape = a flat list of any length."""
        if isinstance(value, dict):  # camera_calibration's {rows, cols, data}
            value = value.get("data")
        # Checked before numpy sees it: a few nested YAML aliases can stand for billions of numbers.
        if isinstance(value, list) and (len(value) > 64 or any(isinstance(v, list) and (len(v) > 64 or any(isinstance(w, list) for w in v)) for v in value)):
            raise self.fail(f"the field '{field}' has far too many numbers")
        try:
            array = np.array(value, float)
        except (TypeError, ValueError, OverflowError):
            raise self.fail(f"the field '{field}' must be numbers") from None
        if not np.isfinite(array).all():
            raise self.fail(f"the field '{field}' has a value that is not finite")
        if not shapes:
            return array.reshape(-1)
        for shape in shapes:
            if array.size == np.prod(shape) and (array.ndim in (1, len(shape)) or 1 in array.shape):
                return array.reshape(shape)
        wanted = " or ".join(" x ".join(map(str, s)) for s in shapes)
        raise self.fail(f"the field '{field}' must have {wanted} numbers, not {' x '.join(map(str, array.shape)) or 'one'}")

    def size(self, width: Any, height: Any, field: str) -> tuple[int, int]:
        numbers = self.numbers([width, height], field, (2,))
        if (numbers != np.round(numbers)).any() or (numbers <= 0).any() or (numbers > 1e6).any():
            raise self.fail(f"the field '{field}' must be a positive whole number of pixels, not {numbers[0]:g} x {numbers[1]:g}")
        return int(numbers[0]), int(numbers[1])

    def rotation(self, value: Any, field: str) -> np.ndarray:
        """A rotation vector (3 numbers) or matrix (3 x 3) as matrix; a matrix that is orthonormal to 1e-3 is made exactly so."""
        numbers = self.numbers(value, field, (3,), (3, 3))
        if numbers.ndim == 1:
            return Rotation.from_rotvec(numbers).as_matrix()
        if np.abs(numbers @ numbers.T - np.eye(3)).max() > 1e-3 or np.linalg.det(numbers) < 0:
            raise self.fail(f"the field '{field}' is not a rotation matrix (orthonormal, determinant +1)")
        u, _, vt = np.linalg.svd(numbers)
        return u @ vt

    def quaternion_xyzw(self, value: Any, field: str) -> np.ndarray:
        numbers = self.numbers(value, field, (4,))
        if abs(np.linalg.norm(numbers) - 1) > 1e-3:
            raise self.fail(f"the field '{field}' is not a unit quaternion (x y z w)")
        return Rotation.from_quat(numbers).as_matrix()

    def distortion(self, value: Any, field: str, model: str | None, fisheye: bool = False) -> tuple[str, np.ndarray]:
        """Model name (ROS) and coefficients; without a name it follows from their number."""
        numbers = np.zeros(0) if value is None else self.numbers(value, field)
        if model is not None:
            name = MODEL_ALIASES.get(str(model).lower())
            if name is None:
                raise self.fail(f"the distortion model '{model}' is unknown; valid are {', '.join(DISTORTION_MODELS)}")
        elif fisheye:
            name = "equidistant"
        else:
            name = "none" if numbers.size == 0 else "plumb_bob" if numbers.size <= 5 else "rational_polynomial"
        if name == "equidistant" and numbers.size == 5 and numbers[4] == 0:
            numbers = numbers[:4]
        if name != "equidistant" and numbers.size > 8:  # OpenCV's thin prism and tilt terms follow the rational ones
            if numbers.any() and np.any(numbers[8:]):
                raise self.fail(f"the field '{field}' has thin-prism or tilt coefficients; supported are {', '.join(DISTORTION_MODELS)}")
            numbers = numbers[:8]
        if name == "plumb_bob" and numbers.size == 8:
            name = "rational_polynomial"
        if name == "none" and not numbers.any():
            numbers = np.zeros(0)
        if name == "plumb_bob" and numbers.size == 0:
            name = "none"
        lengths = DISTORTION_MODELS[name]
        if numbers.size not in lengths:
            raise self.fail(f"the field '{field}' has {numbers.size} numbers; the model '{name}' takes {' or '.join(map(str, lengths))}")
        return name, numbers

    def build(self, size: tuple[int, int], matrix: np.ndarray, lens: tuple[str, np.ndarray], rotation: np.ndarray, translation: np.ndarray) -> Camera:
        """The camera, checked as a whole."""
        camera = Camera(self.camera, size[0], size[1], matrix, lens[0], lens[1], rotation, translation)
        try:
            check_camera(camera)
        except InputError as error:
            raise InputError(f"Calibration '{self.source}': {error}") from None
        return camera


def rotation_vector(camera: Camera) -> np.ndarray:
    """(3,) Rodrigues vector, world to camera, rad."""
    return Rotation.from_matrix(camera.rotation).as_rotvec()
