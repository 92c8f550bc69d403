"""Which names are those of the keypoint set that a node runs with."""

from __future__ import annotations

from biomech_fit.core.errors import InputError
from biomech_fit.formats.keypoint_sets import load_keypoint_set

MOST_NAMES = 64


class SameSet:
    """Each name is looked up once, since a file is read for it, also those that are refused: detectors send them many times a second.

    Args:
        own: name of the node's set.
    """

    def __init__(self, own: str) -> None:
        self._own = own
        self._refusals: dict[str, str] = {own: ""}

    def check(self, name: str, what: str) -> None:
        """Raises InputError where `name` is another set's, or none's; `what` came with it."""
        if name not in self._refusals:
            if len(self._refusals) > MOST_NAMES:
                self._refusals = {self._own: ""}
            self._refusals[name] = self._refusal(name)
        if self._refusals[name]:
            raise InputError(f"{what} are of the set {name}{self._refusals[name]}")

    def _refusal(self, name: str) -> str:
        try:
            same = load_keypoint_set(name).name == self._own
        except InputError as error:
            return f": {error}"
        return "" if same else f", but the node is configured for {self._own}."
