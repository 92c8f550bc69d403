"""A simulated recording with its truth: `simulate(config)`. Forward path: MuJoCo C kinematics and OpenCV projection, never the solver's code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from biomech_fit.config.load import validate
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import EventType, GaitEvent, KeypointPacket, Side
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.sim.cameras import camera_rig, perturbed
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.crowd import DELAY_S, Place, placed, plan_places, together
from biomech_fit.sim.detector import Detections, detect, hidden_points
from biomech_fit.sim.fault_plan import EXTRA_PAUSE_S, MEAN_LENGTH_S, plan_faults
from biomech_fit.sim.faults import Away, Fault, Stranger, any_active, clock_step, faults_of, lag, of_camera, places
from biomech_fit.sim.path import Course, plan_course
from biomech_fit.sim.subject import Subject, body_points, detector_bias, random_subject
from biomech_fit.sim.walker import Motion, WalkStyle, build_motion

MARGIN_S = 0.6
"""The motion is planned this much beyond both ends of the recording, so that clock offsets stay inside and its ends are as smooth as its middle."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What really happened, at the T nominal frame times. Positions in the z-up world, m; angles in rad."""

    time_s: np.ndarray
    coordinate_names: tuple[str, ...]
    coordinates: np.ndarray
    """(T, N) OpenSim names and signs."""
    qpos: np.ndarray
    """(T, nq) MuJoCo positions of the subject's model."""
    keypoint_names: tuple[str, ...]
    keypoints: np.ndarray
    """(T, K, 3) what the detector aims at: keypoint and offset."""
    keypoints_model: np.ndarray
    """(T, K, 3) without offset."""
    joint_centre_names: tuple[str, ...]
    joint_centres: np.ndarray
    """(T, J, 3)"""
    clock_offset_s: np.ndarray
    """(C,) at the end of the recording a camera exposes at its stamp + offset."""
    present: np.ndarray
    """(T,) bool: the person is there to be seen."""
    events: tuple[GaitEvent, ...]
    """In order of time; initial contact at the heel, final contact at the toe, on the floor."""


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated recording: the cameras as handed out, the packets and the truth."""

    config: SimConfig
    keypoint_set: KeypointSet
    body: BodyModel
    """The nominal body, which the subject is not."""
    subject: Subject
    motion: Motion
    cameras: list[Camera]
    """The calibration handed out."""
    true_cameras: list[Camera]
    """As they stand at the beginning."""
    final_cameras: list[Camera]
    """As they stand at the end; another place for a tripod that was moved."""
    faults: tuple[Fault, ...]
    detections: list[Detections]
    """Of all people; `truth`, `subject` and `motion` are the first one's."""
    truth: Truth
    others: tuple[Simulation, ...] = ()
    """The other people, each as if alone."""

    def packets(self) -> Iterator[KeypointPacket]:
        """All packets that arrived, in the order of their arrival (cameras in their order within a frame)."""
        again_ns = round(0.5e9 / self.config.frame_rate_hz)
        rows = []
        for c, d in enumerate(self.detections):
            for later_ns, which in ((0, d.sent), (again_ns, d.sent & d.twice)):
                frame = np.flatnonzero(which)
                rows.append(np.stack([d.arrival_ns[frame] + later_ns, np.full(len(frame), c), frame], axis=1))
        table = np.concatenate(rows)
        for arrival, c, frame in table[np.lexsort((table[:, 2], table[:, 1], table[:, 0]))].tolist():
            yield self.detections[c].packet(frame, arrival)


def simulate(config: SimConfig | None = None, *, part: int = 0, faults: Sequence[Fault] = ()) -> Simulation:
    """Simulates a recording.

    Args:
        config: the settings.
        part: 1, 2, ... are other walks of the same person before the same cameras, for a stream too long to be planned at once.
        faults: more than the settings ask for.

    Raises:
        InputError: a setting out of range, a wrong name, or settings that do not go together.
    """
    config = config or SimConfig()
    validate(config)
    _check(config)
    if config.people == 1:
        return _one(config, part, faults, 0, None)
    courses = [_course(config, _seeds(config, part, i)[1]) for i in range(config.people)]
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(7, part)))
    people = [_one(config, part, faults, i, place) for i, place in enumerate(plan_places(courses, rng, config.seconds))]
    detections = []
    for c, camera in enumerate(people[0].true_cameras):
        capsules = [_capsules(p.body, p.truth.joint_centres) for p in people]
        hidden = [
            np.any([hidden_points(camera, p.truth.keypoints, other) for q, other in enumerate(capsules) if q != i], axis=0) for i, p in enumerate(people)
        ]
        detections.append(together([p.detections[c] for p in people], hidden, config.sigma_px, rng))
    return replace(people[0], detections=detections, others=tuple(people[1:]))


def _seeds(config: SimConfig, part: int, person: int) -> list[np.random.SeedSequence]:
    """One stream of random numbers per part of the simulation: a knob of the detector does not change the person or the walk.

    0 body, 1 course, 2 style, 3 cameras, 4 calibration, 5 detector, 6 faults. Another `part` has another walk, another `person` another body too.
    """
    seeds = np.random.SeedSequence(config.seed).spawn(7)
    if part:
        for k in (1, 2, 5, 6):
            seeds[k] = np.random.SeedSequence(config.seed, spawn_key=(k, part))
    if person:
        for k in (0, 1, 2, 5):
            seeds[k] = np.random.SeedSequence(config.seed, spawn_key=(k, part, person))
    return seeds


def _one(config: SimConfig, part: int, faults: Sequence[Fault], person: int, place: Place | None) -> Simulation:
    """One person alone before the cameras; `place` where there are others."""
    keypoint_set = load_keypoint_set(config.keypoint_set)
    body = load_body_model(None, keypoint_set)
    seeds = _seeds(config, part, person)
    streams = [np.random.default_rng(seed) for seed in seeds]
    subject = random_subject(
        body,
        streams[0],
        size_spread=config.size_spread,
        segment_spread=config.segment_spread,
        side_spread=config.side_spread,
        joint_offset_m=1e-3 * config.joint_offset_mm,
        keypoint_offset_m=1e-3 * config.keypoint_offset_mm,
    )
    if config.detector_bias_mm > 0:
        bias = detector_bias(body, 1e-3 * config.detector_bias_mm, config.detector_seed)
        subject = replace(subject, keypoint_offset=subject.keypoint_offset + bias)
    course = _course(config, seeds[1])
    motion = _walk(config, subject, course if place is None else placed(course, place), streams[2])
    true_cameras = camera_rig(
        streams[3],
        config.cameras,
        layout=config.layout,
        radius_m=config.radius_m,
        width_px=config.image_width_px,
        height_px=config.image_height_px,
        focal_px=config.focal_px,
    )
    cameras = perturbed(true_cameras, streams[4], np.deg2rad(config.calibration_rotation_deg), 1e-3 * config.calibration_translation_mm)
    clock_offset = np.clip(streams[4].standard_normal(config.cameras), -2.5, 2.5) * 1e-3 * config.clock_offset_ms
    time = np.arange(max(round(config.seconds * config.frame_rate_hz), 1)) / config.frame_rate_hz
    faults = (*faults_of(config), *faults)
    if config.faults_per_minute > 0:
        pause_s = max(60.0 / config.faults_per_minute - MEAN_LENGTH_S - EXTRA_PAUSE_S, 2.0)
        faults = (*faults, *plan_faults(streams[6], config.seconds, config.cameras, pause_s=pause_s))
    for fault in faults:
        if fault.camera >= config.cameras:
            raise InputError(f"The fault '{fault.kind}' is of camera {fault.camera}; the {config.cameras} cameras are numbered from 0 to {config.cameras - 1}.")
    if person:
        faults = tuple(fault for fault in faults if not isinstance(fault, Away | Stranger))
    truth = _truth(body, subject, motion, time, config.cameras, ~any_active(faults, Away, time))
    detections, final_cameras = [], []
    for c, (stream, fault_stream) in enumerate(zip(streams[5].spawn(config.cameras), streams[6].spawn(config.cameras), strict=True)):
        own = of_camera(faults, c)
        aimed, centres = truth.keypoints, truth.joint_centres
        shift = clock_offset[c] - lag(own, time)
        if shift.any():
            aimed, _, centres = _points(body, subject, motion.qpos(time + shift))
        truth.clock_offset_s[c] = shift[-1] - clock_step(own, time[-1:])[0]
        mirror = np.array(keypoint_set.mirror or range(len(keypoint_set)))

        def hidden(camera: Camera = true_cameras[c], aimed: np.ndarray = aimed, centres: np.ndarray = centres) -> np.ndarray:
            return hidden_points(camera, aimed, _capsules(body, centres))

        stands = places(true_cameras[c], own, fault_stream)
        final_cameras.append([camera for from_s, camera in stands if from_s <= time[-1]][-1])
        detections.append(detect(config, stands, aimed, time, mirror, stream, own, fault_stream, hidden))
    return Simulation(config, keypoint_set, body, subject, motion, cameras, true_cameras, final_cameras, faults, detections, truth)


def _check(config: SimConfig) -> None:
    if config.strangers > config.cameras:
        raise InputError(f"strangers is {config.strangers}, more than the {config.cameras} cameras; it must be a whole number from 0 to {config.cameras}.")
    for name in ("silent_camera", "lagging_camera", "clock_step_camera", "swap_camera", "moved_camera"):
        if getattr(config, name) >= config.cameras:
            nobody = "all" if name == "clock_step_camera" else "none"
            raise InputError(f"{name} is {getattr(config, name)}; it must be -1 ({nobody}) or a camera's number from 0 to {config.cameras - 1}.")
    if config.standing > 0 and config.path == "treadmill":
        raise InputError("standing is above 0 on a treadmill, which does not stop; choose another path, or standing 0.")


def _course(config: SimConfig, seed: np.random.SeedSequence) -> Course:
    """The planned way; with several people longer than the recording, so that it can begin anywhere on it."""
    return plan_course(
        np.random.default_rng(seed),
        path=config.path,
        start_s=-MARGIN_S,
        end_s=config.seconds + MARGIN_S + (DELAY_S if config.people > 1 else 0.0),
        speed_m_s=config.speed_m_s,
        cadence_steps_min=config.cadence_steps_min,
        cadence_variability=config.cadence_variability,
        path_length_m=config.path_length_m,
        path_width_m=config.path_width_m,
        stop_at_s=config.stop_at_s,
        stop_for_s=config.stop_for_s,
        standing_s=config.standing,
    )


def _walk(config: SimConfig, subject: Subject, course: Course, style_rng: np.random.Generator) -> Motion:
    style = WalkStyle(
        step_width_m=config.step_width_m,
        toe_out_rad=float(np.deg2rad(config.toe_out_deg)),
        arm_swing=config.arm_swing,
        asymmetry=config.asymmetry,
        variability=config.variability,
    )
    return build_motion(subject.mj_model, subject.foot_points, course, config.speed_m_s, config.cadence_steps_min, style, style_rng)


def _points(body: BodyModel, subject: Subject, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Aimed points (T, K, 3), keypoints without offset (T, K, 3) and joint centres (T, J, 3) in poses (T, nq)."""
    keypoints = len(subject.keypoint_body)
    bodies = np.concatenate([subject.keypoint_body, subject.keypoint_body, subject.joint_centre_body])
    local = np.concatenate([subject.keypoint_position + subject.keypoint_offset, subject.keypoint_position, subject.joint_centre_position])
    world = body_points(subject.mj_model, qpos, bodies, local)
    return world[:, :keypoints], world[:, keypoints : 2 * keypoints], world[:, 2 * keypoints :]


def _truth(body: BodyModel, subject: Subject, motion: Motion, time: np.ndarray, cameras: int, present: np.ndarray) -> Truth:
    qpos = motion.qpos(time)
    aimed, plain, centres = _points(body, subject, qpos)
    return Truth(
        time_s=time,
        coordinate_names=body.coordinate_names,
        coordinates=motion.coordinates(time),
        qpos=qpos,
        keypoint_names=body.keypoint_names,
        keypoints=aimed,
        keypoints_model=plain,
        joint_centre_names=body.joint_centre_names,
        joint_centres=centres,
        clock_offset_s=np.zeros(cameras),
        present=present,
        events=_events(subject, motion, float(time[-1])),
    )


def _events(subject: Subject, motion: Motion, end_s: float) -> tuple[GaitEvent, ...]:
    """Initial contacts (the heel becomes planted) and final contacts (the toe ceases to be) within the recording."""
    rows = []
    for foot, side, letter in ((motion.feet[0], Side.RIGHT, "R"), (motion.feet[1], Side.LEFT, "L")):
        for kind, times, point in (
            (EventType.INITIAL_CONTACT, foot.initial_contact_s, "Heel"),
            (EventType.FINAL_CONTACT, foot.final_contact_s, "Toe"),
        ):
            times = times[(times >= 0.0) & (times <= end_s)]
            bodies, local = subject.foot_points[letter + point]
            where = body_points(subject.mj_model, motion.qpos(times), np.array([bodies]), local[None])[:, 0]
            rows += [(t, kind, side, np.array([x, y, 0.0])) for t, (x, y, _) in zip(times, where, strict=True)]
    rows.sort(key=lambda row: row[0])
    return tuple(GaitEvent(round(float(t) * 1e9), kind, side, place, 0.0, 1.0, 0.0) for t, kind, side, place in rows)


def _capsules(body: BodyModel, centres: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Trunk, thighs and shanks as capsules (ends (T, 3), radius m) that can hide keypoints."""
    place = {name: centres[:, k] for k, name in enumerate(body.joint_centre_names)}
    parts = [("MidHip", "MidShoulder", 0.13), ("RHip", "RKnee", 0.07), ("LHip", "LKnee", 0.07), ("RKnee", "RAnkle", 0.045), ("LKnee", "LAnkle", 0.045)]
    return [(place[a], place[b], radius) for a, b, radius in parts if a in place and b in place]
