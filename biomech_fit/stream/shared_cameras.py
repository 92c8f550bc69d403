"""The cameras as all tracked people together tell of them.

Every person's solver estimates the cameras for itself, from the same prior. Gaussians that share a prior combine by adding information and counting the
prior once: L = L_0 + sum_i (L_i - G_i), L m = L_0 m_0 + sum_i (L_i m_i - G_i g_i), where (g_i, G_i) is what person i was given at the start:
the prior for the first one, what was known by then for those who come later. (Covariance intersection would be needed if the people's keypoints
erred together; they do not.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from biomech_fit.core.camera import Camera
from biomech_fit.core.residuals import CAMERA_STATES
from biomech_fit.stream.camera_watch import CameraWatch, Sighting
from biomech_fit.stream.person import PersonTracker


@dataclass(frozen=True, eq=False)
class CameraBelief:
    """A Gaussian of the cameras' and lenses' states ((7 + L) C,), in information form."""

    information: np.ndarray
    vector: np.ndarray
    """information @ mean"""

    @classmethod
    def of(cls, mean: np.ndarray, covariance: np.ndarray) -> CameraBelief:
        information = np.linalg.inv(covariance)
        information = 0.5 * (information + information.T)
        return cls(information, information @ mean)

    @classmethod
    def nothing(cls, states: int) -> CameraBelief:
        """Of somebody who has seen nothing."""
        return cls(np.zeros((states, states)), np.zeros(states))

    @classmethod
    def before(cls, mean: np.ndarray, information: np.ndarray) -> CameraBelief:
        """A prior."""
        return cls(information, information @ mean)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance."""
        covariance = np.linalg.inv(self.information)
        covariance = 0.5 * (covariance + covariance.T)
        return covariance @ self.vector, covariance

    def plus(self, other: CameraBelief) -> CameraBelief:
        return CameraBelief(self.information + other.information, self.vector + other.vector)

    def beyond(self, given: CameraBelief) -> CameraBelief:
        """What this knows that was not given. Directions in which it knows less by now (it forgets) say nothing."""
        value, vector = np.linalg.eigh(self.information - given.information)
        kept = vector[:, value > 0]
        return CameraBelief((kept * value[value > 0]) @ kept.T, kept @ (kept.T @ (self.vector - given.vector)))

    def forgetting(self, states: np.ndarray) -> CameraBelief:
        """Without what it knows of some states (indices); what they told of the others is kept (marginalisation)."""
        rest = np.setdiff1d(np.arange(len(self.vector)), states)
        gain = self.information[np.ix_(rest, states)] @ np.linalg.pinv(self.information[np.ix_(states, states)], hermitian=True)
        information, vector = np.zeros_like(self.information), np.zeros_like(self.vector)
        information[np.ix_(rest, rest)] = self.information[np.ix_(rest, rest)] - gain @ self.information[np.ix_(states, rest)]
        vector[rest] = self.vector[rest] - gain @ self.vector[states]
        return CameraBelief(information, vector)


def combined(prior: CameraBelief, found: list[CameraBelief]) -> CameraBelief:
    """The prior and what the people have found beyond what each was given."""
    total = prior
    for more in found:
        total = total.plus(more)
    return total


class SharedCameras:
    """The cameras of all people's trackers, judged by all together (`camera_watch`).

    Args:
        trackers: one for each place.
        cameras: as they were loaded.
        estimate: a camera that stands elsewhere is estimated anew; else it is only left out.
    """

    def __init__(self, trackers: list[PersonTracker], cameras: list[Camera], estimate: bool):
        self._trackers, self._cameras = trackers, cameras
        self.watch = CameraWatch(len(cameras), estimate)
        self._given = [_belief(tracker) for tracker in trackers]
        self._past = self._nothing()
        """What people who are forgotten have found."""
        self.clear()

    def clear(self) -> None:
        """Nobody is here. The cameras stay as they were estimated."""
        self.watch.clear()
        self._unjudged: tuple[int, list[Callable[[], Sighting]]] | None = None
        """The newest frame, and its sightings, where the cameras are still to be judged by it."""
        self.begun_ns: dict[int, int] = {}
        """Cameras that were moved or pushed, and the frame after which they began anew."""

    def restore(self) -> None:
        """The cameras are as they were loaded, and what was learned of the bodies is forgotten with them."""
        for place, tracker in enumerate(self._trackers):
            tracker.restore_cameras()
            self.begin(place)
        self._past = self._nothing()
        self.watch.forget()

    # --- from frame to frame ----------------------------------------------------------------------------------------------------------------------

    def seen(self, stamp_ns: int, sightings: list[Callable[[], Sighting]]) -> None:
        """A frame by which the cameras are to be judged, before the next one."""
        self._unjudged = stamp_ns, sightings

    def judge(self) -> None:
        """Judge the cameras by the last frame. The next frame must know, but the last one's results need not wait for it: best called while packets come in."""
        if self._unjudged is None:
            return
        (stamp_ns, sightings), self._unjudged = self._unjudged, None
        for c, camera in self.watch.look(stamp_ns, [sighting() for sighting in sightings], self.corrected).items():
            self._move(c, camera)
            self.begun_ns[c] = stamp_ns

    def _move(self, c: int, camera: Camera) -> None:
        """A camera begins anew from where it was found to stand. What people have told of its old pose and of its clock is forgotten, what that told of the
        other cameras is not."""
        states, own = self.estimate()[0][: CAMERA_STATES * len(self._cameras)], CAMERA_STATES * c + np.arange(CAMERA_STATES)
        before = self._prior()
        for tracker in self._trackers:
            tracker.move_camera(c, camera, states)
        now = self._prior()
        self._given = [now.plus(given.beyond(before).forgetting(own)) for given in self._given]
        self._past = self._past.forgetting(own)

    # --- from person to person --------------------------------------------------------------------------------------------------------------------

    def keep(self, place: int) -> None:
        """Remember what the person of a place has found, who is about to be forgotten."""
        self._past = self._past.plus(self._found(place))

    def begin(self, place: int) -> None:
        """What a place's tracker thinks now is what it was given, not what it found."""
        self._given[place] = _belief(self._trackers[place])

    def hand_on(self, place: int, anybody: bool) -> None:
        """A new person begins with what the others have found, those who are forgotten and, where `anybody` of those who are here was fitted, these."""
        tracker = self._trackers[place]
        if tracker.layout.n_cameras and (self._past.information.any() or anybody):
            tracker.states.take_rig(*self._joint().moments())
            self.begin(place)

    # --- estimates --------------------------------------------------------------------------------------------------------------------------------

    def estimate(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the cameras' and lenses' states ((7 + L) C,), of all people together."""
        if len(self._trackers) == 1:
            return _rig(self._trackers[0])
        return self._joint().moments()

    def corrected(self) -> list[Camera]:
        """The cameras with the corrections estimated so far."""
        tracker = self._trackers[0]
        return tracker.corrected_cameras(self.estimate()[0]) if tracker.layout.n_cameras else list(self._cameras)

    def _joint(self) -> CameraBelief:
        here = [self._found(place) for place in range(len(self._trackers))]
        return combined(self._prior(), [self._past, *here])

    def _found(self, place: int) -> CameraBelief:
        return _belief(self._trackers[place]).beyond(self._given[place])

    def _prior(self) -> CameraBelief:
        return CameraBelief.before(*self._trackers[0].states.rig_prior())

    def _nothing(self) -> CameraBelief:
        return CameraBelief.nothing(len(self._given[0].vector))


def _rig(tracker: PersonTracker) -> tuple[np.ndarray, np.ndarray]:
    part = tracker.layout.rig
    return tracker.slow.mean[part], tracker.slow.covariance[part, part]


def _belief(tracker: PersonTracker) -> CameraBelief:
    return CameraBelief.of(*_rig(tracker))
