"""Images and the reprojected skeleton on them: numpy and OpenCV only."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.sides import side_of

CHANNELS = {"bgr8": 3, "rgb8": 3, "bgra8": 4, "rgba8": 4, "mono8": 1}
_TO_BGR = {"rgb8": cv2.COLOR_RGB2BGR, "bgra8": cv2.COLOR_BGRA2BGR, "rgba8": cv2.COLOR_RGBA2BGR, "mono8": cv2.COLOR_GRAY2BGR}
MAX_PIXELS = 100_000_000
BLUE, RED, GREY = (217, 115, 50), (51, 76, 217), (200, 200, 200)
"""BGR of the left, the right and the middle."""


def image_array(message: Image) -> np.ndarray:
    """(H, W, 3) uint8 BGR, writable. Raises InputError for encodings that we do not draw on, and for sizes that do not fit the data."""
    channels = CHANNELS.get(message.encoding)
    if channels is None:
        raise InputError(f"The image's encoding is {message.encoding!r}; it must be one of {', '.join(CHANNELS)}.")
    row = message.width * channels
    if not 0 < message.width * message.height <= MAX_PIXELS or message.step < row or len(message.data) < message.step * message.height:
        raise InputError(f"The image says {message.width}x{message.height} pixels in rows of {message.step} bytes, but it has {len(message.data)} bytes.")
    rows = np.frombuffer(message.data, np.uint8, message.step * message.height).reshape(message.height, message.step)[:, :row]
    picture = rows.reshape(message.height, message.width, channels)
    return cv2.cvtColor(picture, _TO_BGR[message.encoding]) if message.encoding in _TO_BGR else picture.copy()


def compressed_array(message: CompressedImage) -> np.ndarray:
    """(H, W, 3) uint8 BGR. Raises InputError where OpenCV cannot read the data."""
    try:
        picture = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR) if len(message.data) else None
    except cv2.error:  # a header that speaks of too many pixels, say
        picture = None
    if picture is None:
        raise InputError(f"A compressed image of format {message.format!r} and {len(message.data)} bytes cannot be read.")
    return picture


def image_msg(picture: np.ndarray, like: Image) -> Image:
    """bgr8, under the header of another image."""
    height, width = picture.shape[:2]
    message = Image(header=like.header, height=height, width=width, encoding="bgr8", step=3 * width)
    message.data = np.ascontiguousarray(picture).tobytes()
    return message


def compressed_msg(picture: np.ndarray, like: CompressedImage, quality: int = 90) -> CompressedImage:
    """JPEG, under the header of another image."""
    good, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise InputError("An image could not be compressed.")
    return CompressedImage(header=like.header, format="jpeg", data=data.tobytes())


def draw_skeleton(picture: np.ndarray, camera: Camera, points: np.ndarray, edges: tuple[tuple[int, int], ...], names: list[str]) -> None:
    """Draws into `picture` (H, W, 3): points (K, 3) m in the world, NaN = missing, and the edges between them; left blue, right red.

    An image of another size than the calibration's is taken as the same view scaled.
    """
    height, width = picture.shape[:2]
    pixels = camera.project(points) * [width / camera.width, height / camera.height]
    seen = np.isfinite(pixels).all(1) & (np.abs(pixels) < 4 * max(width, height)).all(1)
    thickness = max(1, round(min(width, height) / 400))
    for a, b in edges:
        if seen[a] and seen[b]:
            start, end = (tuple(int(v) for v in np.rint(pixels[k])) for k in (a, b))
            cv2.line(picture, start, end, _colour(names[b]), thickness, cv2.LINE_AA)
    for k in np.flatnonzero(seen):
        cv2.circle(picture, tuple(int(v) for v in np.rint(pixels[k])), 2 * thickness, _colour(names[k]), -1, cv2.LINE_AA)


def _colour(name: str) -> tuple[int, int, int]:
    return {"l": BLUE, "r": RED}.get(side_of(name), GREY)
