"""What every pipeline gets: packets of 2D keypoints of a person's standing and walking trial, made with one of the benchmark's conditions; and the truth.

Projection is OpenCV's; nothing of the solver is used. All chance comes from (seed, person, trial, purpose), so that the same errors meet every condition:
what differs between two conditions is the condition.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from rigs import RIGS, Placed, perturbed, pixels
from walks import Person, Trial, read_person, subject_names

from biomech_fit.core.camera import Camera
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import KeypointPacket

RATE_HZ = 60.0
SIGMA_PX, OUTLIERS, OUTLIER_FACTOR, MISSING = 4.0, 0.05, 4.0, 0.03
MARGIN_S = 0.03
"""The first frame is this long after the file's first sample, so that a lagging camera has something to show."""
CONFIDENCE_LOGIT, CONFIDENCE_LOGIT_OUTLIER, CONFIDENCE_SPREAD = 1.0, -0.2, 1.5
"""logit(confidence) is normal. Ordinary points have 0.50 to 0.88 (quartiles), those of four times the error 0.23 to 0.69. Triangulation weighted with it has
the same error as that which the targets were set against."""
MIN_SEEN = 3
"""A person of whom fewer points are found in an image is not detected."""


@dataclass(frozen=True)
class Condition:
    """One row of the table."""

    name: str
    title: str
    rig: str = "ring of 8"
    refine: bool = True
    perturbed: bool = False
    silent: bool = False
    """One camera sends nothing from the middle of the walk on."""
    loss: float = 0.0
    lag_s: float = 0.0
    """One camera stamps t and shows t - lag."""
    correlation: float = 0.0
    """Of a point's error from frame to frame; its variance stays."""
    stranger: bool = False
    """Somebody else walks in one camera's image."""


CONDITIONS = {
    c.name: c
    for c in (
        Condition("clean", "ring of 8, true calibration"),
        Condition("fixed", "the same, refinement off", refine=False),
        Condition("perturbed", "ring, perturbed cameras", perturbed=True),
        Condition("silent", "ring, one camera silent from the middle", silent=True),
        Condition("loss", "ring, 20 % packet loss", loss=0.2),
        Condition("lag", "ring, one camera lagging 25 ms", lag_s=0.025),
        Condition("side", "4 cameras on one side, arc of 60°", rig="4 in 60"),
        Condition("side90", "4 cameras on one side, arc of 90°", rig="4 in 90"),
        Condition("real", "the real 4-camera rig, perturbed", rig="real 4", perturbed=True),
        Condition("correlated", "ring, noise correlated in time (0.8)", correlation=0.8),
        Condition("stranger", "ring, a stranger in one camera", stranger=True),
    )
}


@dataclass(frozen=True, eq=False)
class Recording:
    """A trial as cameras and their detectors deliver it; C cameras, T frames, K keypoints."""

    given: list[Camera]
    """The calibration as handed out."""
    true: list[Camera]
    frames: list[list[KeypointPacket]]
    """Per frame the packets that arrive."""
    stamp_ns: np.ndarray
    """(T,)"""
    points: np.ndarray
    """(T, K, 3) m, what the detector aims at; NaN = unknown."""
    angles: np.ndarray
    """(T, 6) degrees, Plug-in-Gait, `walks.FLEXIONS`."""


@dataclass(frozen=True, eq=False)
class Session:
    """A person's two trials before the same cameras."""

    static: Recording
    walk: Recording


def make_session(subject: str, condition: Condition, keypoint_set: KeypointSet, seed: int) -> Session:
    """The recordings of one person in one condition. Silence and the stranger come with the walk only; all else is in both trials."""
    person = person_of(subject, keypoint_set.names, seed)
    placed = RIGS[condition.rig](person.walk.points(times_of(person.walk)))
    given = perturbed(placed.cameras, rng_of(seed, subject, "calibration")) if condition.perturbed else placed.cameras
    other = None
    if condition.stranger:
        names = subject_names()
        other = person_of(names[(names.index(subject) + 1) % len(names)], keypoint_set.names, seed).walk
    static = _record(person.static, placed, given, condition, None, subject, "static", seed)
    walk = _record(person.walk, placed, given, condition, other, subject, "walk", seed)
    return Session(static, walk)


def fingerprint(recording: Recording) -> str:
    """The same for two recordings if a pipeline gets the same from both: calibration and packets."""
    crc = 0
    for camera in recording.given:
        for part in (camera.matrix, camera.distortion, camera.rotation, camera.translation):
            crc = zlib.crc32(np.round(part, 6).tobytes(), crc)
    for packets in recording.frames:
        for packet in packets:
            crc = zlib.crc32(f"{packet.camera} {packet.stamp_ns}".encode() + np.round(packet.xy, 2).tobytes() + np.round(packet.confidence, 3).tobytes(), crc)
    return f"{crc:08x}"


@lru_cache(maxsize=12)
def person_of(subject: str, keypoint_names: tuple[str, ...], seed: int) -> Person:
    """A person of the data set with the offsets that this seed draws."""
    return read_person(subject, keypoint_names, rng_of(seed, subject, "offsets"))


def rng_of(seed: int, *purpose: str) -> np.random.Generator:
    """Chance for one purpose, which no other purpose shares."""
    return np.random.default_rng([seed, zlib.crc32(" ".join(purpose).encode())])


def times_of(trial: Trial) -> np.ndarray:
    """(T,) s, the frames' times in the file."""
    return np.arange(trial.start_s + MARGIN_S, trial.end_s, 1 / RATE_HZ)


def _record(trial: Trial, placed: Placed, given: list[Camera], condition: Condition, stranger: Trial | None, subject: str, name: str, seed: int) -> Recording:
    time = times_of(trial)
    stamp_ns = np.round((time - time[0] + 1.0) * 1e9).astype(np.int64)
    special = int(rng_of(seed, subject, "camera").integers(len(given)))
    lost = rng_of(seed, subject, name, "loss").random((len(time), len(given))) < condition.loss
    if condition.silent and name == "walk":
        lost[len(time) // 2 :, special] = True
    frames: list[list[KeypointPacket]] = [[] for _ in time]
    for c, camera in enumerate(placed.cameras):
        shown = time - condition.lag_s if c == special else time
        people = [_detect(pixels(camera, placed.place(trial.points(shown))), condition.correlation, rng_of(seed, subject, name, "noise", camera.name))]
        if stranger is not None and c == special:
            people.append(_stranger(stranger, len(time), camera, placed, rng_of(seed, subject, name, "stranger")))
        turn = rng_of(seed, subject, name, "order", camera.name)
        for t in range(len(time)):
            if not lost[t, c]:
                frames[t].append(_packet(camera.name, int(stamp_ns[t]), [(xy[t], confidence[t]) for xy, confidence in people], turn))
    return Recording(given, placed.cameras, frames, stamp_ns, placed.place(trial.points(time)), trial.angles(time))


def _packet(camera: str, stamp_ns: int, people: list[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator) -> KeypointPacket:
    """The people found in one image, in random order."""
    found = [people[p] for p in rng.permutation(len(people)) if (people[p][1] > 0).sum() >= MIN_SEEN]
    k = people[0][0].shape[0]
    xy = np.array([f[0] for f in found], np.float32).reshape(-1, k, 2)
    confidence = np.array([f[1] for f in found], np.float32).reshape(-1, k)
    return KeypointPacket(camera, stamp_ns, xy, confidence, np.full(len(found), -1, np.int32))


def _detect(true_xy: np.ndarray, correlation: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Detected (T, K, 2) px and confidence (T, K) from true pixels. A missing point is NaN with confidence 0.

    Heavy tails: in each frame 5 % of the points have four times the error of the others. The draws do not depend on `correlation`.
    """
    frames, count = true_xy.shape[:2]
    noise = rng.standard_normal((frames, count, 2))
    for t in range(1, frames):
        noise[t] = correlation * noise[t - 1] + np.sqrt(1 - correlation**2) * noise[t]
    bad = rng.random((frames, count)) < OUTLIERS
    xy = true_xy + SIGMA_PX * np.where(bad, OUTLIER_FACTOR, 1.0)[..., None] * noise
    logit = np.where(bad, CONFIDENCE_LOGIT_OUTLIER, CONFIDENCE_LOGIT) + CONFIDENCE_SPREAD * rng.standard_normal((frames, count))
    lost = (rng.random((frames, count)) < MISSING) | ~np.isfinite(xy).all(-1)
    return np.where(lost[..., None], np.nan, xy), np.where(lost, 0.0, 1 / (1 + np.exp(-logit)))


def _stranger(trial: Trial, frames: int, camera: Camera, placed: Placed, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Another person's detections: walks back and forth on a path through the middle of this camera's view, 2 m behind the subject's."""
    time = times_of(trial)
    there_and_back = np.abs((np.arange(frames) + len(time) - 1) % (2 * len(time) - 2) - (len(time) - 1))
    points = trial.points(time[there_and_back])
    middle = np.append(np.nanmean(points[..., :2], axis=(0, 1)), 0.0)
    ahead = np.array([camera.rotation[2, 0], camera.rotation[2, 1], 0.0])
    ahead /= np.linalg.norm(ahead)
    aside = np.array([-ahead[1], ahead[0], 0.0])
    path = placed.turn @ np.array([0.0, 1.0, 0.0])
    # The file's walks go along y: turn the path across the view, so that the stranger passes behind the subject.
    angle = np.arctan2(aside[1], aside[0]) - np.arctan2(path[1], path[0])
    turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
    behind = np.append((placed.place(middle) + 2.0 * ahead)[:2], 0.0)
    return _detect(pixels(camera, (points - middle) @ (turn @ placed.turn).T + behind), 0.0, rng)
