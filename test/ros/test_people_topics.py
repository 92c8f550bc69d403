"""Several people on topics: the first on the plain names, everybody in people/person_<number>/."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from ros_fakes import PATIENT, PERIOD_NS, FakePipeline, linked, overrides, ring, ros, standing
from sensor_msgs.msg import JointState
from visualization_msgs.msg import MarkerArray

from biomech_fit import msg as bf
from biomech_fit.core.types import FrameResult, KeypointPacket, Status
from biomech_fit.formats.calibration import write_calibration
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.nodes.fitter import FitterNode
from biomech_fit.ros import qos
from biomech_fit.ros.convert import keypoints_2d_msg

CAMERAS = ring(3)
SET = load_keypoint_set("halpe_26")
K = len(SET)


class Pair(FakePipeline):
    """A second person with other angles; from the tenth frame on lost."""

    def poll(self, now_ns) -> list[FrameResult]:
        results = super().poll(now_ns)
        return [r for result in results for r in (result, self._second(result))]

    def _second(self, first: FrameResult) -> FrameResult:
        if self.frames > 10:
            return FrameResult(first.stamp_ns, Status.LOST, None, None, 0.001, person=2)
        estimate = standing(self.setup.body, first.stamp_ns)
        estimate = replace(estimate, position=estimate.position + 1.0)
        return FrameResult(first.stamp_ns, Status.OK, estimate, replace(estimate, lag_s=0.1), 0.001, person=2)

    def bodies(self):
        one = self.subject()
        return {1: one, 2: replace(one, scales=one.scales + 0.1)}


@pytest.fixture
def calibration(tmp_path) -> str:
    path = tmp_path / "Calib.toml"
    write_calibration(path, CAMERAS)
    return str(path)


def run(calibration: str, max_people: int, awaited: dict[str, int], frames: int = 20) -> dict[str, list]:
    """What a listener got of some frames, once there are the `awaited` numbers of messages."""
    kinds = {"joint_states": JointState, "body_state": bf.BodyState, "body_state_smoothed": bf.BodyState, "subject_model": bf.SubjectModel}
    got: dict[str, list] = {}
    with ros() as (context, add, spin_until):
        values = {"calibration": calibration, "fit__stream__frame_rate_hz": 50.0, "slow_rate_hz": 10.0, "fit__stream__max_people": max_people}
        values |= PATIENT | {"fit__stream__deadline_s": 2.0}  # every camera sends every frame
        factory = Pair if max_people > 1 else FakePipeline
        node = add(FitterNode(pipeline_factory=factory, context=context, parameter_overrides=overrides(**values)))
        peer = add(Node("peer", context=context))
        for prefix in ("", "people/person_1/", "people/person_2/"):
            for name, kind in kinds.items():
                got[prefix + name] = []
                profile = qos.latched() if name == "subject_model" else qos.results()
                peer.create_subscription(kind, prefix + name, got[prefix + name].append, profile)
        got["markers"] = []
        peer.create_subscription(MarkerArray, "markers", got["markers"].append, qos.results())
        publishers = {c.name: peer.create_publisher(bf.Keypoints2D, f"{c.name}/keypoints", qos.keypoints()) for c in CAMERAS}
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS and node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        assert spin_until(lambda: linked(node, peer) and got["subject_model"])
        for frame in range(frames):
            stamp = 1_000_000_000_000 + frame * PERIOD_NS
            for camera in CAMERAS:
                packet = KeypointPacket(camera.name, stamp, np.full((1, K, 2), 500, np.float32), np.full((1, K), 0.9, np.float32), np.array([-1], np.int32))
                publishers[camera.name].publish(keypoints_2d_msg(packet, camera, SET))
            assert spin_until(lambda count=frame + 1: len(got["body_state"]) >= count)
        assert spin_until(lambda: all(len(got[name]) >= count for name, count in awaited.items())), {name: len(got[name]) for name in awaited}
        everybody = [got[f"people/person_{n}/subject_model"] for n in range(1, max_people + 1)] if max_people > 1 else []
        assert spin_until(lambda: all(one and one[-1].header == got["subject_model"][-1].header for one in everybody))
        # The second person's markers come with every pose of that person; one array is enough.
        assert max_people == 1 or spin_until(lambda: any(m.ns.startswith("person_2/") for array in got["markers"] for m in array.markers))
    return got


def test_everybody_has_topics_and_the_first_the_plain_ones(calibration: str) -> None:
    each = {"joint_states": 20, "body_state": 20, "body_state_smoothed": 15}
    awaited = each | {f"people/person_1/{name}": count for name, count in each.items()}
    awaited |= {"people/person_2/joint_states": 10, "people/person_2/body_state": 20, "people/person_2/body_state_smoothed": 10}
    got = run(calibration, 2, awaited)
    for name in each:
        # By their text: NaN is not equal to itself.
        assert got[name] and str(got[name]) == str(got[f"people/person_1/{name}"]), name
    assert str(got["subject_model"][-1]) == str(got["people/person_1/subject_model"][-1])  # of a latched topic only the last is promised
    first, second = got["people/person_1/joint_states"], got["people/person_2/joint_states"]
    assert len(first) == 20 and len(second) == 10
    np.testing.assert_allclose(np.array(second[0].position) - np.array(first[0].position), 1.0)
    states = got["people/person_2/body_state"]
    assert len(states) == 20 and [s.status for s in states] == [Status.OK] * 10 + [Status.LOST] * 10
    assert {s.subject for s in states} == {"person_2"} and len(got["people/person_2/body_state_smoothed"]) == 10
    assert got["people/person_2/subject_model"][-1].scales[0] == pytest.approx(1.1)
    namespaces = {marker.ns for array in got["markers"] for marker in array.markers}
    assert {"keypoints", "person_2/keypoints", "segments", "person_2/segments"} <= namespaces
    colours = {marker.ns: marker.color for array in got["markers"] for marker in array.markers if marker.ns.endswith("segments") and marker.id == 0}
    assert colours["segments"] != colours["person_2/segments"]


def test_with_one_person_there_are_the_plain_names_only(calibration: str) -> None:
    got = run(calibration, 1, {"joint_states": 6, "body_state": 6}, 6)
    assert len(got["joint_states"]) == 6
    assert not any(messages for name, messages in got.items() if name.startswith("people/"))
