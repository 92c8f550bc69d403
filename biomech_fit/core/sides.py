"""Which side of the body a name speaks of."""

from __future__ import annotations

_LANDMARKS = ("asi", "psi", "hip", "kn", "ank", "heel", "toe", "mtoe", "mhip", "sho", "elb", "wri", "hand", "fin", "foot", "fem", "tib", "shld", "lelb", "melb")


def side_of(name: str) -> str:
    """'l', 'r' or '' by the usual names: LHip, left_hip, hip_l, lasis (lower-case l or r before a known landmark is taken as a side)."""
    lower = name.lower()
    if lower.startswith("left") or lower.endswith("_l") or (name[:1] == "L" and name[1:2].isupper()):
        return "l"
    if lower.startswith("right") or lower.endswith("_r") or (name[:1] == "R" and name[1:2].isupper()):
        return "r"
    if name.islower() and name[:1] in "lr" and len(name) > 3 and any(name[1:].startswith(m) for m in _LANDMARKS):
        return name[0]
    return ""
