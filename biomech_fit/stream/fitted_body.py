"""The body that is fitted, between the whole keypoint set outside and the solver's keypoints, which are those that the model has."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.estimates import SubjectEstimate
from biomech_fit.core.keypoint_noise import KeypointNoise
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.segments import segment_lengths
from biomech_fit.core.window import SlowLayout
from biomech_fit.stream.slow_states import SUBJECT_OFFSET_STD_M, SUBJECT_SCALE_STD, BodyPrior, SlowEstimate


class KnownBody(Protocol):
    """A person measured before, or what many people have in common (`formats.subject.Subject`)."""

    name: str
    people: int
    """1 = a person; more = a base model of so many."""

    def scale_vector(self, body: BodyModel) -> tuple[np.ndarray, np.ndarray]:
        """Scale parameters (S,) and their standard deviations."""
        ...

    def offset_matrix(self, body: BodyModel, keypoint_set: str) -> tuple[np.ndarray, np.ndarray]:
        """Keypoint offsets (K, 3) m and their standard deviations."""
        ...

    def covariance(self, body: BodyModel, keypoint_set: str) -> np.ndarray:
        """(S + 3K, S + 3K) of both."""
        ...

    def keypoint_noise(self, keypoint_set: str) -> KeypointNoise | None:
        """How far off the detector's keypoints are, where it says so."""
        ...


class FittedBody:
    """A body model, loaded for a keypoint set, of which it need not know every point.

    Raises InputError where it knows fewer than `least`.
    """

    def __init__(self, body: BodyModel, keypoint_set: KeypointSet, least: int) -> None:
        self.full, self.keypoint_set = body, keypoint_set
        self.mapped = np.asarray(body.keypoint_body) >= 0
        """(K,) which of the set's keypoints the solver has."""
        known = int(self.mapped.sum())
        if known < least:
            raise InputError(f"The model {body.name} knows {known} keypoints of the set {keypoint_set.name}; at least {least} are needed.")
        self.solved = _restricted(body, tuple(self.mapped))
        """With only those."""

    def bones(self) -> np.ndarray:
        """(E, 2) the set's edges between the solver's keypoints."""
        place = np.cumsum(self.mapped) - 1
        pairs = [(place[a], place[b]) for a, b in self.keypoint_set.edges if self.mapped[a] and self.mapped[b]]
        return np.array(pairs, int).reshape(-1, 2)

    def mirror(self) -> np.ndarray:
        """(K solved,) left-right partner of each of the solver's keypoints."""
        place = np.cumsum(self.mapped) - 1
        partner = np.array(self.keypoint_set.mirror or range(len(self.keypoint_set)))
        return np.where(self.mapped[partner], place[partner], place)[self.mapped]

    def known(self, subject: KnownBody) -> BodyPrior:
        """The subject as the tracker takes it: a person is known a little less surely than the recording says that tells of them.

        Raises InputError for a subject of another model.
        """
        kept, name = self._states(), self.keypoint_set.name
        scales, _ = subject.scale_vector(self.full)
        offsets, _ = subject.offset_matrix(self.full, name)
        covariance = subject.covariance(self.full, name)[np.ix_(kept, kept)]
        if subject.people == 1:
            changes = np.r_[np.full(len(scales), SUBJECT_SCALE_STD), np.full(len(kept) - len(scales), SUBJECT_OFFSET_STD_M)]
            covariance = covariance + np.diag(changes**2)
        return BodyPrior(scales, offsets[self.mapped], covariance)

    def estimate(self, stamp_ns: int, name: str, slow: SlowEstimate, layout: SlowLayout, frames: int, fixed: bool) -> SubjectEstimate:
        """What the slow states say of the person, for the whole keypoint set."""
        body, k = self.full, len(self.keypoint_set)
        std = np.sqrt(np.maximum(np.diag(slow.covariance), 0.0))
        offsets, offset_std = np.zeros((k, 3)), np.full((k, 3), np.nan)
        offsets[self.mapped] = slow.mean[layout.offsets].reshape(-1, 3)
        offset_std[self.mapped] = std[layout.offsets].reshape(-1, 3)
        size, kept = layout.n_scales + 3 * k, self._states()
        covariance = np.full((size, size), np.nan)
        covariance[np.ix_(kept, kept)] = slow.covariance[: layout.offsets.stop, : layout.offsets.stop]
        scales = slow.mean[layout.scales]
        return SubjectEstimate(
            stamp_ns,
            name,
            body.name,
            tuple(body.scale_names),
            scales.copy(),
            std[layout.scales],
            tuple(body.keypoint_names),
            offsets,
            offset_std,
            segment_lengths(body, scales),
            frames,
            fixed,
            covariance,
        )

    def _states(self) -> np.ndarray:
        """(S + 3K solved,) where the solver's scales and offsets are among those of the whole keypoint set."""
        scales = np.arange(len(self.full.scale_names))
        offsets = len(scales) + 3 * np.flatnonzero(self.mapped)[:, None] + np.arange(3)
        return np.concatenate([scales, offsets.reshape(-1)])


@lru_cache(maxsize=4)
def _restricted(body: BodyModel, known: tuple[bool, ...]) -> BodyModel:
    """The body with only the keypoints that it has; one object for one body, so that compiled solvers can be shared."""
    mapped = np.array(known)
    return replace(
        body,
        keypoint_names=tuple(n for n, m in zip(body.keypoint_names, mapped, strict=True) if m),
        keypoint_body=body.keypoint_body[mapped],
        keypoint_position=body.keypoint_position[mapped],
        keypoint_offset_std=body.keypoint_offset_std[mapped],
    )
