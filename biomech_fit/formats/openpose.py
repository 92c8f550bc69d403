"""OpenPose's JSON: one file per camera and frame, all people in it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.formats.safe_read import parse_json, read_text

MAX_FRAME_BYTES = 8 * 1024 * 1024
_FIELD = "pose_keypoints_2d"
_MAX_PEOPLE = 200


@dataclass(frozen=True, eq=False)
class OpenPoseFrame:
    """The people of one image, as written: nothing cleaned yet."""

    keypoints: list[np.ndarray]
    """One (K, 3) float64 array per person: x, y (px), confidence. K may differ between people in a damaged file."""
    person_ids: list[int]
    """-1 = untracked."""
    rejected: int
    """People whose list is not a multiple of three numbers."""


def read_frame(path: Path) -> OpenPoseFrame:
    """Read one file. People without body keypoints are left out. `InputError` (one sentence) if the file is not an OpenPose JSON."""
    document = parse_json(read_text(path, MAX_FRAME_BYTES), path)
    people = document.get("people") if isinstance(document, dict) else None
    if not isinstance(people, list):
        raise InputError(f"'{path}' is not an OpenPose file: it has no list 'people'.")
    keypoints, ids, rejected = [], [], 0
    for person in people[:_MAX_PEOPLE]:
        numbers = person.get(_FIELD) if isinstance(person, dict) else None
        if numbers is None or numbers == []:
            continue
        try:
            array = np.array(numbers, float)
        except (TypeError, ValueError, OverflowError):
            array = np.zeros(1)
        if array.ndim != 1 or array.size % 3:
            rejected += 1
            continue
        keypoints.append(array.reshape(-1, 3))
        ids.append(_person_id(person))
    return OpenPoseFrame(keypoints, ids, rejected)


def write_frame(path: Path, xy: np.ndarray, confidence: np.ndarray, person_ids: np.ndarray) -> None:
    """Write P people: `xy` (P, K, 2) px (NaN = missing, written as zeros), `confidence` (P, K), `person_ids` (P,)."""
    values = np.concatenate([xy, confidence[..., None]], -1).astype(float)
    values[~np.isfinite(values).all(-1) | (confidence <= 0)] = 0.0
    empty: list[float] = []
    people = [
        {"person_id": [int(i)], _FIELD: np.round(v, 4).reshape(-1).tolist(), "face_keypoints_2d": empty, "hand_left_keypoints_2d": empty,
         "hand_right_keypoints_2d": empty, "pose_keypoints_3d": empty}
        for i, v in zip(person_ids, values, strict=True)
    ]  # fmt: skip
    path.write_text(json.dumps({"version": 1.3, "people": people}, separators=(",", ":")), encoding="utf-8")


def keypoint_count(frames: list[OpenPoseFrame]) -> int | None:
    """The usual number of keypoints per person; None without any person."""
    counts = Counter(len(k) for frame in frames for k in frame.keypoints)
    return counts.most_common(1)[0][0] if counts else None


def vote_body_25(frames: list[OpenPoseFrame]) -> tuple[str, int, int]:
    """Tell BODY_25 from BODY_25B (both have 25 points) by the data: ``(set name, votes for it, votes)``.

    The nose is point 0 in both. In BODY_25B points 1 to 4 are eyes and ears, so they lie on the nose compared with 15 to 18 (ankles, neck, head); in
    BODY_25 it is the other way round (neck and right arm against eyes and ears). Every person with enough of both groups has one vote.
    """
    for_b = votes = 0
    for person in (k for frame in frames for k in frame.keypoints if len(k) == 25):
        seen = (person[:, 2] > 0.2) & (person[:, :2] != 0).any(axis=1)
        distance = np.linalg.norm(person[:, :2] - person[0, :2], axis=1)
        first, last = [i for i in range(1, 5) if seen[i]], [i for i in range(15, 19) if seen[i]]
        if not seen[0] or len(first) < 2 or len(last) < 2:
            continue
        votes += 1
        for_b += bool(np.median(distance[first]) < np.median(distance[last]))
    return ("body_25b", for_b, votes) if 2 * for_b > votes else ("body_25", votes - for_b, votes)


def _person_id(person: dict) -> int:
    value = person.get("person_id", -1)
    value = value[0] if isinstance(value, list) and value else value
    return int(value) if isinstance(value, int | float) and abs(value) < 2**31 else -1
