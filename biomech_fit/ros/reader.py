"""Keypoint messages, checked, to packets. A bad message gives a sentence, never a crash."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sensor_msgs.msg import CameraInfo

from biomech_fit import msg as bf
from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import KeypointPacket
from biomech_fit.ros.convert import time_ns
from biomech_fit.ros.same_set import SameSet


class KeypointReader:
    """Checks keypoint messages against the cameras and the keypoint set of this run.

    Args:
        cameras: those of the calibration in use.
        keypoint_set: the one that the fit was compiled for.
    """

    def __init__(self, cameras: Sequence[Camera], keypoint_set: KeypointSet) -> None:
        self._cameras = {camera.name: camera for camera in cameras}
        self._set, self._same_set = keypoint_set, SameSet(keypoint_set.name)

    def read(self, message: bf.Keypoints2D, topic_camera: str, received_ns: int) -> tuple[KeypointPacket, str | None]:
        """The packet, and a sentence where single points had to be left out.

        Args:
            message: may be anything that the type allows.
            topic_camera: the camera whose topic it came on; used where the message names none.
            received_ns: arrival on the node's clock.

        Raises:
            InputError: the message as a whole is of no use.
        """
        name = message.camera or topic_camera
        camera = self._cameras.get(name)
        if camera is None:
            raise InputError(f"Keypoints came from camera '{name}', which is not one of: {', '.join(self._cameras)}.")
        if name != topic_camera:
            raise InputError(f"Keypoints of camera '{name}' came on the topic of camera '{topic_camera}'.")
        if message.keypoint_set:
            self._same_set.check(message.keypoint_set, f"Keypoints of camera '{name}'")
        stamp = time_ns(message.header.stamp)
        if stamp <= 0:
            raise InputError(f"Keypoints of camera '{name}' have no stamp; it must be the time of the exposure.")
        if (message.width or message.height) and (message.width, message.height) != (camera.width, camera.height):
            raise InputError(
                f"Keypoints of camera '{name}' refer to an image of {message.width}x{message.height} pixels, "
                f"but its calibration is for {camera.width}x{camera.height}."
            )
        k = len(self._set)
        confidence = np.array(message.confidence, np.float32)
        xy = np.array(message.xy, np.float32)
        people = len(message.person_ids) or len(confidence) // k
        if len(confidence) != people * k or len(xy) != people * k * 2:
            raise InputError(
                f"Keypoints of camera '{name}' have {len(xy)} coordinates and {len(confidence)} confidences for {people} people; "
                f"{self._set.name} has {k} points, so {people * k * 2} and {people * k} are needed."
            )
        xy, confidence = xy.reshape(people, k, 2), confidence.reshape(people, k)
        ids = np.array(message.person_ids, np.int32) if len(message.person_ids) else np.full(people, -1, np.int32)
        xy, confidence, notice = clean(xy, confidence, name)
        return KeypointPacket(name, stamp, xy, confidence, ids, received_ns), notice

    def check_info(self, message: CameraInfo, name: str) -> str | None:
        """A sentence where a camera's own CameraInfo disagrees with the calibration in use; None where it agrees."""
        camera = self._cameras[name]
        if (message.width, message.height) != (camera.width, camera.height):
            return f"Camera '{name}' says its images have {message.width}x{message.height} pixels, but its calibration is for {camera.width}x{camera.height}."
        own = np.array(message.k, float).reshape(3, 3)
        if own[0, 0] > 0 and np.abs(own - camera.matrix)[:2].max() > 0.01 * camera.matrix[0, 0]:
            return (
                f"Camera '{name}' publishes a focal length of {own[0, 0]:.0f} px and a centre at ({own[0, 2]:.0f}, {own[1, 2]:.0f}), its calibration has "
                f"{camera.matrix[0, 0]:.0f} px and ({camera.matrix[0, 2]:.0f}, {camera.matrix[1, 2]:.0f}); the calibration is used."
            )
        return None


def clean(xy: np.ndarray, confidence: np.ndarray, camera: str) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Makes points missing whose confidence is negative or not a number, or whose coordinates are not finite; confidences over 1 become 1.

    A point that is missing in both is normal and not mentioned. (P, K, 2), (P, K) in and out.
    """
    missing_xy = ~np.isfinite(xy).all(-1)
    with np.errstate(invalid="ignore"):
        bad = ~(confidence >= 0)
        above = confidence > 1
    odd = (bad & ~missing_xy) | (confidence < 0) | np.isinf(xy).any(-1)
    notice = None
    if odd.any():
        notice = f"Keypoints of camera '{camera}' have points with a negative or missing confidence or infinite coordinates; these points are left out."
    elif above.any():
        notice = f"Keypoints of camera '{camera}' have confidences over 1; they are taken as 1."
    gone = bad | missing_xy
    confidence = np.where(gone, 0, np.minimum(confidence, 1)).astype(np.float32)
    return np.where(gone[..., None], np.nan, xy).astype(np.float32), confidence, notice
