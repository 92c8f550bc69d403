"""A rig, a small pipeline and a bounded spinner for the node tests."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter

from biomech_fit.core.camera import Camera
from biomech_fit.core.estimates import CalibrationEstimate, SubjectEstimate
from biomech_fit.core.types import FrameResult, KeypointPacket, PoseEstimate, Status
from biomech_fit.ros.spin import make_executor
from biomech_fit.stream.assembler import Assembler

SPIN_S = 30.0
"""Longest wait for what is due; a test that passes waits for none of it."""
PERIOD_NS = 20_000_000
PATIENT = {"fit__stream__deadline_s": 0.2, "fit__stream__camera_timeout_s": 10.0, "max_wait_s": 60.0}
"""Of a busy machine: cameras' messages of one frame may arrive far apart, and so may frames, without a camera being taken for dead; a frame may
wait for the processor without being dropped."""


def ring(count: int = 3) -> list[Camera]:
    """Cameras round the origin that look at its middle, 1 m above the floor."""
    cameras = []
    for i in range(count):
        angle = 2 * np.pi * i / count
        centre = np.array([4 * np.cos(angle), 4 * np.sin(angle), 1.5])
        z = np.array([0, 0, 1.0]) - centre
        z /= np.linalg.norm(z)
        x = np.cross(z, [0, 0, 1.0])
        x /= np.linalg.norm(x)
        rotation = np.stack([x, np.cross(z, x), z])
        matrix = np.array([[900.0, 0, 640], [0, 900.0, 512], [0, 0, 1]])
        cameras.append(Camera(f"cam{i + 1}", 1280, 1024, matrix, "none", np.zeros(0), rotation, -rotation @ centre))
    return cameras


class FakePipeline:
    """The contract of FitPipeline with the real assembler and a body that stands at the origin."""

    def __init__(self, setup) -> None:
        self.setup = setup
        self.compiled = False
        self.resets = 0
        self.subjects: list = []
        self.fail_next = False
        self.packets: list[KeypointPacket] = []
        self.nan_next = False
        self._make()

    def _make(self) -> None:
        stream = self.setup.config.stream
        names = [c.name for c in self.setup.cameras]
        self.assembler = Assembler(names, 1 / stream.frame_rate_hz, stream.deadline_s, dead_after_s=stream.camera_timeout_s)
        self.frames = 0
        self.stamp_ns = 0

    def compile(self) -> None:
        self.compiled = True

    def feed_keypoints(self, packet) -> None:
        self.packets.append(packet)
        self.assembler.feed(packet)

    def poll(self, now_ns) -> list[FrameResult]:
        if self.fail_next:
            self.fail_next = False
            raise RuntimeError("on purpose")
        return [self._result(s) for s in self.assembler.poll(now_ns)]

    def flush(self) -> list[FrameResult]:
        return [self._result(s) for s in self.assembler.flush()]

    def reset(self, subject: bool = False) -> None:
        self.resets += 1
        self._make()

    def set_subject(self, subject) -> list[FrameResult]:
        """As the real one it gives out what the lag held back: here one frame."""
        self.subjects.append(subject)
        late = standing(self.setup.body, self.stamp_ns - 4 * PERIOD_NS, lag_s=0.08)
        return [FrameResult(late.stamp_ns, Status.OK, None, late, 0.0)]

    def _result(self, frame) -> FrameResult:
        self.frames += 1
        self.stamp_ns = frame.stamp_ns
        if len(frame.packets) < 2:
            return FrameResult(frame.stamp_ns, Status.TOO_FEW_CAMERAS, None, None, 0.001)
        estimate = standing(self.setup.body, frame.stamp_ns, tuple(frame.packets), frame.missing)
        if self.nan_next:
            self.nan_next = False
            estimate.position[7] = np.nan
        smoothed = standing(self.setup.body, frame.stamp_ns - 5 * PERIOD_NS, tuple(frame.packets), frame.missing, lag_s=0.1) if self.frames > 5 else None
        return FrameResult(frame.stamp_ns, Status.OK, estimate, smoothed, 0.001)

    def calibration(self) -> CalibrationEstimate:
        cameras = tuple(self.setup.cameras)
        c = len(cameras)
        nan = np.full(c, np.nan)
        return CalibrationEstimate(self.stamp_ns, cameras, cameras, (True,) * c, np.full((c, 6, 6), 1e-6), np.zeros(c), nan, nan, nan)

    def subject(self) -> SubjectEstimate:
        body = self.setup.body
        s, k = len(body.scale_names), len(body.keypoint_names)
        return SubjectEstimate(
            self.stamp_ns, "", body.name, body.scale_names, np.zeros(s), np.full(s, 0.02), body.keypoint_names,
            np.zeros((k, 3)), np.full((k, 3), 0.01), {name: 0.4 for name in body.segments}, self.frames, False,
        )  # fmt: skip

    def bodies(self) -> dict[int, SubjectEstimate]:
        return {1: self.subject()}

    def diagnostics(self, calibration=None):
        return [("ok", "fake", "All is well.", {"frames": self.frames})]


def standing(body, stamp_ns, used=(), missing=(), lag_s=0.0) -> PoseEstimate:
    """The body in its neutral pose."""
    import mujoco

    data = mujoco.MjData(body.mj_model)
    mujoco.mj_kinematics(body.mj_model, data)

    def place(bodies, local):
        return data.xpos[bodies] + np.einsum("kij,kj->ki", data.xmat.reshape(-1, 3, 3)[bodies], local)

    n, k = len(body.coordinate_names), len(body.keypoint_names)
    keypoints = place(body.keypoint_body, body.keypoint_position)
    keypoints[body.keypoint_body < 0] = np.nan
    return PoseEstimate(
        stamp_ns, Status.OK, np.linspace(-0.3, 0.3, n), np.zeros(n), np.full(n, 0.01), data.qpos.copy(), data.xpos[1].copy(), data.xquat[1].copy(),
        np.eye(6) * 1e-4, keypoints, np.full((k, 3), 0.01), place(body.joint_centre_body, body.joint_centre_position), lag_s, 3.0, tuple(used), tuple(missing),
    )  # fmt: skip


def linked(*nodes) -> bool:
    """Whether both ends of each topic between these nodes know of each other; before that, messages of a volatile topic are lost to some of its listeners."""
    publishers = [p for node in nodes for p in node.publishers]
    subscriptions = [s for node in nodes for s in node.subscriptions]
    sent = Counter(p.topic_name for p in publishers)
    taken = Counter(s.topic_name for s in subscriptions)
    return all(p.get_subscription_count() >= taken[p.topic_name] for p in publishers) and all(
        s.get_publisher_count() >= sent[s.topic_name] for s in subscriptions
    )


@contextmanager
def ros(domain: int = 0):
    """A context of its own, with an executor; everything is shut down at the end."""
    context = Context()
    rclpy.init(context=context, args=[])
    executor = make_executor(context)
    nodes = []

    def add(node):
        nodes.append(node)
        executor.add_node(node)
        return node

    def spin_until(condition, seconds: float = SPIN_S) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            executor.spin_once(timeout_sec=0.01)
        return bool(condition())

    try:
        yield context, add, spin_until
    finally:
        for node in nodes:
            getattr(node, "close", lambda: None)()
            node.destroy_node()
        executor.shutdown()
        context.try_shutdown()


def overrides(**values) -> list[Parameter]:
    """Parameters as given at a node's start; two underscores stand for a dot."""
    return [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
