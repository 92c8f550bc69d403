"""The cameras as all tracked people together tell of them.

Every person's solver estimates the cameras for itself, from the same prior. Gaussians that share a prior combine by adding information and counting the
prior once: L = L_0 + sum_i (L_i - G_i), L m = L_0 m_0 + sum_i (L_i m_i - G_i g_i), where (g_i, G_i) is what person i was given at the start:
the prior for the first one, what was known by then for those who come later. (Covariance intersection would be needed if the people's keypoints
erred together; they do not.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
