"""Several walkers at once: their ways cross, they hide each other from the cameras, and each camera names them in an order of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from biomech_fit.sim.detector import MIN_VISIBLE, Detections
from biomech_fit.sim.path import DENSE_HZ, Course

DRAWS = 200
"""Places that are tried for each walker."""
APART_M = 0.6
"""Two walkers' paths come no nearer at any time, if a place for that is found."""
SHIFT_M = 0.7
DELAY_S = 6.0
HIDDEN_LOST = 0.8
"""Share of the points behind another person that the detector does not give; the others have HIDDEN_FACTOR times the error."""
HIDDEN_FACTOR = 3.0
UNDETECTED = 0.7
"""Somebody of whom more than this share is hidden is not detected."""


@dataclass(frozen=True)
class Place:
    """Where and when a walk takes place: the path turned about the volume's middle, then shifted, and begun somewhere along it."""

    turn_rad: float = 0.0
    shift_m: tuple[float, float] = (0.0, 0.0)
    delay_s: float = 0.0
    """The walk has been going on for this long when the recording begins."""


def placed(course: Course, place: Place) -> Course:
    """The course, planned DELAY_S longer than needed, at its place; the parts before and after are cut off."""
    skip = round(place.delay_s * DENSE_HZ)
    part = slice(skip, skip + len(course.time_s) - round(DELAY_S * DENSE_HZ))
    turn = np.array([[np.cos(place.turn_rad), -np.sin(place.turn_rad)], [np.sin(place.turn_rad), np.cos(place.turn_rad)]])
    return replace(
        course,
        time_s=course.time_s[: part.stop - part.start],
        position=course.position[part] @ turn.T + np.asarray(place.shift_m),
        heading=course.heading[part] + place.turn_rad,
        speed=course.speed[part],
        standing=course.standing[part],
        phase=course.phase[part],
    )


def plan_places(courses: list[Course], rng: np.random.Generator, end_s: float) -> list[Place]:
    """A place for each of the courses (each planned DELAY_S longer) so that people pass each other, as near as may be but not nearer than APART_M.

    They pass in the middle half of the recording (0 to `end_s`). Where nothing keeps them apart, the place that keeps them furthest apart is taken.
    """
    places = [Place()]
    taken = [_positions(courses[0], places[0], end_s)]
    for course in courses[1:]:
        best: tuple[float, Place, np.ndarray] | None = None
        for _ in range(DRAWS):
            shift = rng.uniform(-SHIFT_M, SHIFT_M, 2)
            place = Place(float(rng.uniform(0, 2 * np.pi)), (float(shift[0]), float(shift[1])), float(rng.uniform(0, DELAY_S)))
            where = _positions(course, place, end_s)
            apart = np.min([np.linalg.norm(where - other, axis=1) for other in taken], axis=0)
            middle = slice(len(apart) // 4, -(len(apart) // 4))
            score = float(apart.min() - 10.0 if apart.min() < APART_M else -apart[middle].min())
            if best is None or score > best[0]:
                best = (score, place, where)
        assert best is not None
        places.append(best[1])
        taken.append(best[2])
    return places


def _positions(course: Course, place: Place, end_s: float) -> np.ndarray:
    """(T, 2) m at 50 Hz during the recording."""
    there = placed(course, place)
    inside = (there.time_s >= 0.0) & (there.time_s <= end_s)
    return there.position[inside][::10]


def together(people: list[Detections], hidden: list[np.ndarray], sigma_px: float, rng: np.random.Generator) -> Detections:
    """One camera's detections of all people. The packets (stamps, losses, arrival) are those of the first; `hidden`: (T, K) bool for each, behind others."""
    xy, confidence = (np.concatenate([getattr(d, name) for d in people], axis=1) for name in ("xy", "confidence"))
    detected = np.concatenate([_detected(d) for d in people], axis=1)
    first = np.cumsum([0, *(d.xy.shape[1] for d in people)])
    for p, behind in zip(first, hidden, strict=False):
        lost = behind & (rng.random(behind.shape) < HIDDEN_LOST)
        blurred = behind & ~lost
        xy[:, p] += np.where(blurred[..., None], np.sqrt(HIDDEN_FACTOR**2 - 1) * sigma_px * rng.standard_normal(xy[:, p].shape), 0.0)
        confidence[:, p] *= np.where(blurred, 0.5, 1.0)
        xy[:, p][lost], confidence[:, p][lost] = np.nan, 0.0
        detected[:, p] &= (behind.mean(axis=1) <= UNDETECTED) & (np.isfinite(xy[:, p, :, 0]).sum(axis=1) >= MIN_VISIBLE)
    order = np.argsort(rng.random(detected.shape), axis=1)
    order = np.where(np.take_along_axis(detected, order, axis=1), order, -1)
    return replace(people[0], xy=xy, confidence=confidence, order=order)


def _detected(detections: Detections) -> np.ndarray:
    """(T, P) bool."""
    out = np.zeros(detections.order.shape, bool)
    for p in range(out.shape[1]):
        out[:, p] = (detections.order == p).any(axis=1)
    return out


