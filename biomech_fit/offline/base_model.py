"""What many people's fits tell of the next person: where the detector aims on everybody, and how bodies differ (empirical Bayes).

A hierarchical Gaussian model. Person i's scales and keypoint offsets theta_i are drawn from N(mu, Sigma); a fit of that person's recordings is reduced to
what the data alone say of theta_i, a Gaussian likelihood of information Lambda_i and vector h_i. mu and Sigma are found by expectation maximisation (Dempster,
Laird & Rubin 1977), Sigma with an inverse Wishart prior, mu with a Gaussian one about the model. The next person's prior is N(mu, Sigma + cov(mu)), firmer
by `FIRMNESS`.

A fit is surer of the body than it deserves: nobody's joints sit just where the scaled model has them, and what is left over lands in the directions of scales
and offsets that the data leave almost open. It is alike in the whole recording, so that no number of frames averages it away; pose prior, motion prior and
contact add little to it. So everybody's evidence counts less by `OVERSURE`, what people do not show well stays where it was thought to be before anybody was
seen (`_before`), and the next person's fit, which is over-sure as well, needs a firmer prior. The numbers were chosen on eight simulated people (seeds 100 to
107, each left out in turn), with and without offsets of their own; a factor of two in one of them costs less than a tenth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PRIOR_PEOPLE = 2.0
"""The spread of bodies and offsets that is thought of before anybody is seen counts as much as so many people."""
COMMON_OFFSET_STD_M, OWN_OFFSET_STD_M = 0.010, 0.007
"""Per axis, of where a detector aims beside a keypoint on everybody, and of how people differ in it, before anybody is seen."""
PROPORTION_STD = 0.005
"""How far the average person's proportions may be from the model's (share). Where a detector aims and how long segments are is hard to tell apart, so on
average the model is taken at its word. The average size is free."""
OVERSURE = 16.0
"""By this the information of a person's evidence is divided."""
FIRMNESS = 4.0
"""By this the covariance of the next person's prior is divided, since the fit that it meets is over-sure of the body as well."""
ITERATIONS = 200
TOLERANCE = 1e-4
"""Of mu, in standard deviations between people."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a person's data say of scales and offsets (D = S + 3 K), without any prior."""

    information: np.ndarray
    """(D, D), positive semidefinite."""
    vector: np.ndarray
    """(D,) information times the most likely value."""


@dataclass(frozen=True, eq=False)
class Spread:
    """A prior of people's scales and offsets."""

    mean: np.ndarray
    """(D,)"""
    covariance: np.ndarray
    """(D, D)"""


def evidence(mean: np.ndarray, covariance: np.ndarray, prior: Spread) -> Evidence:
    """Take the prior (D) out of a posterior (mean (D,), covariance (D, D))."""
    posterior, before = np.linalg.inv(covariance), np.linalg.inv(prior.covariance)
    value, vectors = np.linalg.eigh(0.5 * (posterior - before + (posterior - before).T))
    information = (vectors * np.maximum(value, 0.0)) @ vectors.T
    return Evidence(information, posterior @ mean - before @ prior.mean)


def learn_base(people: Sequence[Evidence], model: Spread, scales: int) -> tuple[Spread, Spread]:
    """The prior for the next person, and what is known of the common mean (both of D = scales + 3 K states).

    `model` is the prior without anybody. Offsets of different keypoints are independent between people, and each keypoint's spread is the same along its
    three axes.
    """
    n, prior = len(people), np.linalg.inv(_before(model, scales, COMMON_OFFSET_STD_M, common=True))
    people = [Evidence(person.information / OVERSURE, person.vector / OVERSURE) for person in people]
    start = _before(model, scales, OWN_OFFSET_STD_M, common=False)
    mean, spread = model.mean.copy(), start
    for _ in range(ITERATIONS):
        between = np.linalg.inv(spread)
        own = [np.linalg.inv(person.information + between) for person in people]
        # A person tells of the mean (Sigma + Lambda^-1)^-1 = Sigma^-1 - Sigma^-1 (Lambda + Sigma^-1)^-1 Sigma^-1, also where Lambda is singular.
        information = prior + n * between - between @ np.sum(own, 0) @ between
        vector = prior @ model.mean + between @ np.sum([covariance @ person.vector for covariance, person in zip(own, people, strict=True)], 0)
        known = np.linalg.inv(0.5 * (information + information.T))
        before, mean = mean, known @ vector
        bodies = [covariance @ (person.vector + between @ mean) for covariance, person in zip(own, people, strict=True)]
        deviations = np.sum([np.outer(body - mean, body - mean) + covariance for body, covariance in zip(bodies, own, strict=True)], 0)
        spread = _structured((PRIOR_PEOPLE * start + deviations) / (PRIOR_PEOPLE + n), scales)
        if np.max(np.abs(mean - before) / np.sqrt(np.diag(spread))) < TOLERANCE:
            break
    return Spread(mean, (spread + known) / FIRMNESS), Spread(mean, known)


def _before(model: Spread, scales: int, offset_std_m: float, common: bool) -> np.ndarray:
    """(D, D) covariance that is thought of before anybody is seen: of the common mean, or between people."""
    out = np.diag(np.full(len(model.mean), offset_std_m**2))
    own = model.covariance[:scales, :scales]
    out[:scales, :scales] = own.mean() + PROPORTION_STD**2 * np.eye(scales) if common and scales else own
    return out


def _structured(covariance: np.ndarray, scales: int) -> np.ndarray:
    """Scales jointly, each keypoint's offset alike along its axes and independent of all else."""
    out = np.zeros_like(covariance)
    out[:scales, :scales] = 0.5 * (covariance[:scales, :scales] + covariance[:scales, :scales].T)
    own = np.diag(covariance)[scales:].reshape(-1, 3).mean(1)
    out[range(scales, len(out)), range(scales, len(out))] = np.repeat(own, 3)
    return out
