"""recorder_node: what the fitter and the gait node publish, written at the end as files and a report, as `biomech-fit track` writes them."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState

from biomech_fit import msg as bf
from biomech_fit.config.fit import FitConfig
from biomech_fit.config.node import FitterNodeConfig, RecorderNodeConfig
from biomech_fit.config.version import version
from biomech_fit.core.errors import InputError
from biomech_fit.formats.folder import make_folder
from biomech_fit.report.outputs import write_outputs
from biomech_fit.ros import parameters, qos
from biomech_fit.ros.collect import collected
from biomech_fit.ros.convert import time_ns
from biomech_fit.ros.setup import load_setup
from biomech_fit.ros.spin import run_node


class RecorderNode(Node):
    """See docs/nodes.md. Writes once, when it ends; `finished` is true then, and `exit_code` 2 where that was not possible. Raises InputError for a bad
    parameter, file or folder."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("recorder_node", **kwargs)
        parameters.declare(self, RecorderNodeConfig(), fixed=True)
        self.settings = s = parameters.read(self, RecorderNodeConfig())
        if not s.output:
            raise InputError("Parameter output is empty; it must name the folder for the results.")
        make_folder(Path(s.output))
        fit = FitConfig()
        fit = replace(fit, stream=replace(fit.stream, frame_rate_hz=s.frame_rate_hz))
        like_fitter = FitterNodeConfig(calibration=s.calibration, cameras=s.cameras, world_up=s.world_up, keypoint_set=s.keypoint_set, model=s.model, fit=fit)
        self.setup = load_setup(like_fitter)
        self.finished = self._ended = False
        self.exit_code = 0
        self.states: list[bf.BodyState] = []
        self.smoothed: list[bf.BodyState] = []
        self.events: list[bf.GaitEvent] = []
        self.late_events: list[bf.GaitEvent] = []
        self.joint_states = 0
        self.delays_s: list[float] = []
        """From the exposure's stamp to the arrival of body_state here, where stamps are of this machine's clock."""
        self.keypoints: dict[str, list[bf.Keypoints2D]] = {c.name: [] for c in self.setup.cameras}
        self._calibration: bf.CameraCalibrationState | None = None
        self._subject: bf.SubjectModel | None = None
        self._began = self._last = time.monotonic()
        self._listen(bf.BodyState, "body_state", self._receive)
        self._listen(bf.BodyState, "body_state_smoothed", self.smoothed.append)
        self._listen(bf.GaitEvent, "gait_events", self.events.append)
        self._listen(bf.GaitEvent, "gait_events_smoothed", self.late_events.append)
        self._listen(JointState, "joint_states", self._count)
        self._listen(bf.CameraCalibrationState, "calibration", partial(setattr, self, "_calibration"), qos.latched())
        self._listen(bf.SubjectModel, "subject_model", partial(setattr, self, "_subject"), qos.latched())
        for name, messages in self.keypoints.items():
            self._listen(bf.Keypoints2D, f"{name}/keypoints", messages.append, qos.keypoints())
        self._sets: set[str] = set()
        self._models: set[tuple[str, ...]] = {(), tuple(self.setup.body.coordinate_names)}
        self.create_timer(0.25, self._look_at_the_clock, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info("Ready.")

    def _listen(self, kind: type, topic: str, callback: Any, profile: Any = None) -> None:
        self.create_subscription(kind, topic, callback, profile or qos.results(1000), qos_overriding_options=qos.overridable())

    def _receive(self, state: bf.BodyState) -> None:
        self._last = time.monotonic()
        self.states.append(state)
        if state.keypoint_set and state.keypoint_set not in self._sets:
            self._sets.add(state.keypoint_set)
            if state.keypoint_set != self.setup.keypoint_set.name:
                own = self.setup.keypoint_set.name
                self.get_logger().warning(f"The fitter's keypoint set is {state.keypoint_set}, here it is {own}: keypoints of other names will be missing.")
        names = tuple(state.joint_names)
        if names not in self._models:
            self._models.add(names)
            strange = ", ".join([n for n in (*names, *self.setup.body.coordinate_names) if (n in names) != (n in self.setup.body.coordinate_names)][:4])
            self.get_logger().error(f"The fitter's body model has other coordinates than the one here ({strange or 'another order'}): set the parameter model.")
        self.delays_s.append((self.get_clock().now().nanoseconds - time_ns(state.header.stamp)) * 1e-9)

    def _count(self, _: JointState) -> None:
        self.joint_states += 1

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        idle = self.settings.idle_s > 0 and bool(self.states) and now - self._last > self.settings.idle_s
        if not self.finished and (idle or now - self._began > 60 * self.settings.max_minutes):
            self._end()

    def close(self) -> None:
        """At the end of the process: writes what there is, unless it has been written."""
        self._end()

    def _end(self) -> None:
        if self._ended:
            return
        self.finished = self._ended = True
        try:
            self.write()
        except Exception as error:
            self.exit_code = 2
            said = str(error) if isinstance(error, (InputError, OSError)) else f"{type(error).__name__}: {error}"
            self.get_logger().error(said if isinstance(error, InputError) else f"The recording cannot be written to {self.settings.output}: {said}.")

    def write(self) -> None:
        """Writes the folder. Raises InputError where nothing was received."""
        self.get_logger().info(f"Writing {len(self.states)} frames ...")
        result = collected(
            self.setup,
            self.states,
            self.smoothed,
            self.keypoints,
            self._calibration,
            self._subject,
            self.events,
            self.late_events,
            version=version(),
            source="live topics",
            extra={"topics": self._topics()},
        )
        write_outputs(self.settings.output, result)
        self.get_logger().info(f"Written: {self.settings.output}")

    def _topics(self) -> dict[str, Any]:
        """What came over each topic, for summary.json."""
        stamps = sorted({time_ns(m.header.stamp) for m in self.states})
        gaps = np.diff(stamps) * 1e-9 * self.settings.frame_rate_hz if len(stamps) > 1 else np.zeros(0)
        missing = {c.name: sum(c.name in m.cameras_missing for m in self.states) for c in self.setup.cameras}
        report: dict[str, Any] = {
            "body_state": len(self.states),
            "body_state_smoothed": len(self.smoothed),
            "joint_states": self.joint_states,
            "gait_events": len(self.events),
            "gait_events_smoothed": len(self.late_events),
            "keypoints": {name: len(messages) for name, messages in self.keypoints.items()},
            "frames_left_out": int(np.maximum(np.rint(gaps) - 1, 0).sum()),
            "frames_without_camera": missing,
        }
        if self.delays_s and 0 <= min(self.delays_s) and max(self.delays_s) < 3600:
            p = np.percentile(self.delays_s, (50, 95, 99)) * 1e3
            report["exposure_to_subscriber_ms"] = {"p50": p[0], "p95": p[1], "p99": p[2]}
        return report


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(RecorderNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
