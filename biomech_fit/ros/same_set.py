"""Which names are those of the keypoint set that a node runs with."""

from __future__ import annotations

import time

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.formats.keypoint_sets import load_keypoint_set

MOST_NAMES = 64
AGAIN_S = 5.0
"""A name that is refused is looked up again after so long: its file may be there by then."""


class SameSet:
    """Each name is looked up once, since a file is read for it, also those that are refused: detectors send them many times a second.

    Args:
        own: name of the node's set.
    """

    def __init__(self, own: str) -> None:
        self._own = own
        self._refusals: dict[str, tuple[float, str]] = {own: (np.inf, "")}

    def check(self, name: str, what: str) -> None:
        """Raises InputError where `name` is another set's, or none's; `what` came with it."""
        now = time.monotonic()
        until, refusal = self._refusals.get(name, (-np.inf, ""))
        if now > until:
            if len(self._refusals) > MOST_NAMES:
                self._refusals = {self._own: (np.inf, "")}
            refusal = self._refusal(name)
            self._refusals[name] = now + AGAIN_S if refusal else np.inf, refusal
        if refusal:
            raise InputError(f"{what} are of the set {name}{refusal}")

    def _refusal(self, name: str) -> str:
        try:
            same = load_keypoint_set(name).name == self._own
        except InputError as error:
            return f": {error}"
        return "" if same else f", but the node is configured for {self._own}."
