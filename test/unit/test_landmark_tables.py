"""Landmark tables: those that come with the package, and what a user's own may not be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from surface_example import synthetic_body

from biomech_fit.config.paths import config_directory
from biomech_fit.core.errors import InputError
from biomech_fit.formats.landmark_table import JOINT_PAIRS, built_in_tables, read_landmark_table, table_for
from biomech_fit.formats.surface_body import read_surface_body
from biomech_fit.sim.surface import template
from biomech_fit.surface.scan import NEEDED, prepare

TABLES = built_in_tables()
COUNTS = {"smpl": 6890, "smplx": 10475}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_built_in_tables_are_whole(table) -> None:
    assert table.vertex_count == COUNTS[table.name]
    used = [v for entry in table.landmarks for v in entry.vertices]
    assert len(used) == len(set(used)) and min(used) >= 0 and max(used) < table.vertex_count
    sides = {suffix: {name[:-2] for name in table.names if name.endswith(suffix)} for suffix in ("_l", "_r")}
    assert sides["_l"] == sides["_r"] and len(sides["_l"]) >= 10
    by_name = {entry.name: entry for entry in table.landmarks}
    for stem in sides["_l"]:
        left, right = by_name[f"{stem}_l"], by_name[f"{stem}_r"]
        assert len(left.vertices) == len(right.vertices)
        assert left.tissue_m == right.tissue_m
    assert set(NEEDED) <= set(table.names)
    assert all(entry.source for entry in table.landmarks)


@pytest.mark.parametrize("name", COUNTS)
def test_every_source_is_named(name: str) -> None:
    content = yaml.safe_load((config_directory() / "surface" / f"{name}.yaml").read_text(encoding="utf-8"))
    for landmark, entry in content["landmarks"].items():
        assert set(entry["source"].split("+")) <= set(content["sources"]), landmark


def test_vertices_that_several_sources_agree_on() -> None:
    """Numbers that independent publications share; a slip in the table shows here."""
    by_name = {entry.name: entry.vertices for entry in TABLES[0].landmarks}
    for name, vertex in {
        "heel_l": 3387, "heel_r": 6786, "malleolus_lateral_l": 3327, "malleolus_lateral_r": 6728, "radial_styloid_l": 2112, "ulnar_styloid_l": 2108,
        "malleolus_medial_l": 3432, "malleolus_medial_r": 6832, "suprasternale": 3171,
    }.items():  # fmt: skip
        assert by_name[name] == (vertex,)
    assert 6573 in by_name["ASIS_r"] and 3157 in by_name["ASIS_l"]


def test_tissue_lies_between_the_landmarks_of_a_joint_and_under_the_skin_elsewhere() -> None:
    """However the skin's normals lean: here they are the synthetic mesh's, which lean anyhow."""
    table = TABLES[0]
    scan, tissue = prepare(synthetic_body(table), table), {entry.name: entry.tissue_m for entry in table.landmarks}
    for pair in JOINT_PAIRS.values():
        for side in "rl":
            a, b = (f"{name}_{side}" for name in pair)
            line = (scan.skin[b] - scan.skin[a]) / np.linalg.norm(scan.skin[b] - scan.skin[a])
            np.testing.assert_allclose(scan.bone[a] - scan.skin[a], tissue[a] * line, atol=1e-9)
            np.testing.assert_allclose(scan.bone[b] - scan.skin[b], -tissue[b] * line, atol=1e-9)
    inward = -scan.normals[next(entry.vertices[0] for entry in table.landmarks if entry.name == "C7")]
    np.testing.assert_allclose(scan.bone["C7"] - scan.skin["C7"], tissue["C7"] * inward, atol=1e-9)


def test_every_landmark_has_its_place_on_the_body() -> None:
    places = read_surface_body(template().body).landmarks
    for table in TABLES:
        assert set(table.names) <= set(places)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_topology_is_known_by_its_vertices(table) -> None:
    assert table_for(table.vertex_count) is table
    scan = prepare(synthetic_body(table), table)
    assert scan.unit == "m" and scan.stature_m == pytest.approx(1.75, rel=0.08)  # the synthetic person is 1.75 m within its segments' spread


def test_unknown_topology_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"6891 vertices.*SMPL, SMPL\+H or STAR \(6890\); SMPL-X \(10475\).*--landmarks"):
        table_for(6891)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"left": 3, "right": 9000, "tissue_mm": 5, "source": "x"}, "from 0 to 99"),
        ({"left": 3, "right": 3, "tissue_mm": 5, "source": "x"}, "vertex 3 is used by two landmarks"),
        ({"left": 3, "tissue_mm": 5, "source": "x"}, "left and right, or middle"),
        ({"middle": 3, "tissue_mm": -1, "source": "x"}, "tissue_mm"),
        ({"middle": 3, "tissue_mm": 1}, "source"),
        ({"middle": 3, "tissue_mm": 1, "source": "x", "sauce": 1}, "must be"),
    ],
)
def test_bad_tables_are_refused(entry: dict, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump({"vertices": 100, "landmarks": {"ASIS": entry}}))
    with pytest.raises(InputError, match=sentence):
        read_landmark_table(path)
