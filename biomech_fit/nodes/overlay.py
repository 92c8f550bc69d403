"""overlay_node: the reprojected skeleton on a camera's images."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from biomech_fit import msg as bf
from biomech_fit.config.node import OverlayNodeConfig
from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.formats.calibration import read_calibration
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.world_up import upright_camera
from biomech_fit.ros import image, parameters, qos
from biomech_fit.ros.convert import time_ns
from biomech_fit.ros.convert_estimates import cameras_from_msg
from biomech_fit.ros.diagnostics import Diagnostics
from biomech_fit.ros.setup import check_topic_names
from biomech_fit.ros.spin import run_node

STATES_KEPT = 300
IMAGES_KEPT = 60


class OverlayNode(Node):
    """See docs/nodes.md. Raises InputError for a bad parameter or calibration."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("overlay_node", **kwargs)
        parameters.declare(self, OverlayNodeConfig(), fixed=True)
        self.settings = s = parameters.read(self, OverlayNodeConfig())
        self.diagnostics = Diagnostics(self)
        if not s.camera:
            raise InputError("Parameter camera is empty; it must name the camera whose images come in.")
        check_topic_names([s.camera])
        self.camera: Camera | None = self._loaded_camera()
        self._states: deque[bf.BodyState] = deque(maxlen=STATES_KEPT)
        self._waiting: deque[tuple[float, Image | CompressedImage]] = deque()
        self._sets: dict[str, tuple[tuple[str, str], ...]] = {}
        kind, suffix = (CompressedImage, "/compressed") if s.compressed else (Image, "")
        overridable = {"qos_overriding_options": qos.overridable()}
        self._publisher = self.create_publisher(kind, f"{s.camera}/image_overlay{suffix}", qos.results(10), **overridable)
        self.create_subscription(kind, f"{s.camera}/image_raw{suffix}", self._receive_image, qos.images(), **overridable)
        self.create_subscription(bf.BodyState, "body_state_smoothed" if s.smoothed else "body_state", self._receive_state, qos.results(), **overridable)
        self.create_subscription(bf.CameraCalibrationState, "calibration", self._receive_calibration, qos.latched(), **overridable)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # also where /clock has ended
        self.create_timer(0.05, self._give_up_waiting, clock=steady)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", qos.results(10))
        self.create_timer(1.0, self._report, clock=steady)

    def _report(self) -> None:
        self._diagnostics_publisher.publish(self.diagnostics.message(self.get_clock().now().nanoseconds))

    def _loaded_camera(self) -> Camera | None:
        if not self.settings.calibration:
            return None
        cameras = {c.name: c for c in read_calibration(self.settings.calibration).cameras}
        if self.settings.camera not in cameras:
            raise InputError(f"Parameter camera is '{self.settings.camera}', which the calibration does not have; it has: {', '.join(cameras)}.")
        return upright_camera(cameras[self.settings.camera], self.settings.world_up)

    def _receive_calibration(self, message: bf.CameraCalibrationState) -> None:
        try:
            refined = {c.name: c for c in cameras_from_msg(message)}
        except (IndexError, ValueError) as error:
            self.diagnostics.problem("calibration", f"A calibration was dropped because its arrays do not fit its cameras: {error}.")
            return
        camera = refined.get(self.settings.camera)
        if camera is not None and not (camera.width and camera.height):
            self.diagnostics.problem("calibration", f"A calibration was dropped: its camera '{camera.name}' has an image of {camera.width}x{camera.height}.")
            return
        self.camera = camera or self.camera

    def _receive_state(self, state: bf.BodyState) -> None:
        stamp_ns = time_ns(state.header.stamp)
        if self._states and stamp_ns < time_ns(self._states[-1].header.stamp):
            self._states.clear()  # time went back
        self._states.append(state)
        while self._waiting and time_ns(self._waiting[0][1].header.stamp) <= stamp_ns + self._tolerance_ns():
            self._draw(self._waiting.popleft()[1])

    def _receive_image(self, message: Image | CompressedImage) -> None:
        if self._states and time_ns(message.header.stamp) <= time_ns(self._states[-1].header.stamp) + self._tolerance_ns() and not self._waiting:
            self._draw(message)
            return
        self._waiting.append((time.monotonic(), message))
        if len(self._waiting) > IMAGES_KEPT:
            self._draw(self._waiting.popleft()[1])

    def _give_up_waiting(self) -> None:
        while self._waiting and time.monotonic() - self._waiting[0][0] > self.settings.wait_s:
            self._draw(self._waiting.popleft()[1])

    def _tolerance_ns(self) -> int:
        return round(self.settings.tolerance_s * 1e9)

    def _draw(self, message: Image | CompressedImage) -> None:
        """Passes the image on, with the skeleton where there is a state for it."""
        compressed = isinstance(message, CompressedImage)
        try:
            picture = image.compressed_array(message) if compressed else image.image_array(message)
            state = self._state_at(time_ns(message.header.stamp))
            if state is not None and self.camera is not None:
                self._draw_state(picture, self.camera, state)
            self._publisher.publish(image.compressed_msg(picture, message) if compressed else image.image_msg(picture, message))
        except InputError as error:
            self.diagnostics.problem("image", str(error))
        except ValueError as error:
            self.diagnostics.problem("body state", f"A body state was not drawn because its arrays do not fit its names: {error}.")

    def _state_at(self, stamp_ns: int) -> bf.BodyState | None:
        nearest = min(self._states, key=lambda s: abs(time_ns(s.header.stamp) - stamp_ns), default=None)
        if nearest is None or abs(time_ns(nearest.header.stamp) - stamp_ns) > self._tolerance_ns() or not len(nearest.keypoints):
            return None
        return nearest

    def _draw_state(self, picture: np.ndarray, camera: Camera, state: bf.BodyState) -> None:
        names = list(state.keypoint_names)
        points = np.array(state.keypoints, float).reshape(len(names), 3)
        index = {name: k for k, name in enumerate(names)}
        edges = tuple((index[a], index[b]) for a, b in self._edges(state.keypoint_set) if a in index and b in index)
        image.draw_skeleton(picture, camera, points, edges, names)

    def _edges(self, keypoint_set: str) -> tuple[tuple[str, str], ...]:
        if keypoint_set not in self._sets:
            try:
                known = load_keypoint_set(keypoint_set)
                self._sets[keypoint_set] = tuple((known.names[a], known.names[b]) for a, b in known.edges)
            except InputError as error:
                self._sets[keypoint_set] = ()
                self.diagnostics.problem("keypoint set", f"{error} Only points are drawn.")
        return self._sets[keypoint_set]


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(OverlayNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
