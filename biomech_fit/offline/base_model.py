"""What many people's fits tell of the next person: where the detector aims on everybody, and how bodies differ (empirical Bayes).

A hierarchical Gaussian model. Person i's scales and keypoint offsets theta_i are drawn from N(mu, Sigma); a fit of that person's recordings is reduced to
what the data alone say of theta_i, a Gaussian likelihood of information Lambda_i and vector h_i. mu and Sigma are found by expectation maximisation (Dempster,
Laird & Rubin 1977), Sigma with an inverse Wishart prior about the model's own spread, mu with a Gaussian one about the model. The next person's prior is
N(mu, Sigma + cov(mu)).

A fit is surer of the body than it deserves: priors of pose and motion, and feet that roll where they are taken to rest, lean alike in everybody, and in
directions of the body that the data leave almost open what the data alone ask for was wrong by many times its standard deviation. Many people do not average
that away. So everybody's evidence counts less by `OVERSURE`: what a recording shows well is still learned, and what it hardly shows is left to the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PRIOR_PEOPLE = 2.0
"""The model's own spread of bodies and offsets counts as much as so many people."""
OVERSURE = 16.0
"""By this the information of a person's evidence is divided. Chosen on eight simulated people (seeds 100 to 107, left out one by one)."""
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

    `model` is the prior without anybody: its covariance is both how people are thought to differ and how wrong the model may be for all of them. Offsets of
    different keypoints are independent between people, and each keypoint's spread is the same along its three axes.
    """
    n, prior = len(people), np.linalg.inv(model.covariance)
    people = [Evidence(person.information / OVERSURE, person.vector / OVERSURE) for person in people]
    mean, spread = model.mean.copy(), model.covariance.copy()
    for _ in range(ITERATIONS):
        between = np.linalg.inv(spread)
        own = [np.linalg.inv(person.information + between) for person in people]
        bodies = [covariance @ (person.vector + between @ mean) for covariance, person in zip(own, people, strict=True)]
        known = np.linalg.inv(n * between + prior)
        before, mean = mean, known @ (between @ np.sum(bodies, 0) + prior @ model.mean)
        deviations = np.sum([np.outer(body - mean, body - mean) + covariance for body, covariance in zip(bodies, own, strict=True)], 0)
        spread = _structured((PRIOR_PEOPLE * model.covariance + deviations) / (PRIOR_PEOPLE + n), scales)
        if np.max(np.abs(mean - before) / np.sqrt(np.diag(spread))) < TOLERANCE:
            break
    # The mean's own uncertainty. A person tells of it (Sigma + Lambda^-1)^-1 = Lambda - Lambda (Lambda + Sigma^-1)^-1 Lambda, also where Lambda is singular.
    between = np.linalg.inv(spread)
    told = [p.information - p.information @ np.linalg.solve(p.information + between, p.information) for p in people]
    information = prior + np.sum(told, 0)
    known = np.linalg.inv(0.5 * (information + information.T))
    return Spread(mean, spread + known), Spread(mean, known)


def _structured(covariance: np.ndarray, scales: int) -> np.ndarray:
    """Scales jointly, each keypoint's offset alike along its axes and independent of all else."""
    out = np.zeros_like(covariance)
    out[:scales, :scales] = 0.5 * (covariance[:scales, :scales] + covariance[:scales, :scales].T)
    own = np.diag(covariance)[scales:].reshape(-1, 3).mean(1)
    out[range(scales, len(out)), range(scales, len(out))] = np.repeat(own, 3)
    return out
