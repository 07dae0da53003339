"""Published clusters beside measured ones, and the comparison of two fleets: each ratio by mental arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.errors import InputError
from engine_probe.evaluation.published.beside_clusters import BesideCluster, beside_clusters
from engine_probe.evaluation.published.documents import read_document
from engine_probe.evaluation.published.fleets import FleetRow, fleet_rows
from engine_probe.evaluation.published.reference import Reference, read_reference
from engine_probe.recordings.cluster_levels import cluster_levels
from engine_probe.recordings.sweep import load_sweep
from tests.support.sweeps.cluster_sweeps import write_point, write_rows


@pytest.fixture(scope="module")
def reference() -> Reference:
    return read_reference("l40s_cluster")


@pytest.fixture(scope="module")
def rows(reference: Reference) -> dict[str, FleetRow]:
    return {row.what: row for row in fleet_rows(read_document(reference.document), reference.fleets)}


def beside(reference: Reference, folder: Path) -> list[BesideCluster]:
    document = read_document(reference.document)
    return beside_clusters(reference.clusters, reference.setting, document, cluster_levels(load_sweep(folder)))


@pytest.mark.parametrize(
    ("what", "computed", "ratio"),
    [
        ("GPU memory", (12 * 48, 8 * 141), 1128 / 576),
        ("memory bandwidth", (12 * 0.864, 8 * 4.8), 38.4 / 10.368),
        ("power of the GPUs", (12 * 350, 8 * 700), 5600 / 4200),
        ("7B BF16", (4500, 8000), 8000 / 4500),
        ("70B BF16", (2200, 18000), 18000 / 2200),
    ],
)
def test_a_row_is_computed(rows: dict[str, FleetRow], what: str, computed: tuple[float, float], ratio: float) -> None:
    row = rows[what]
    assert [each and each[0] for each in row.computed] == pytest.approx(computed)
    assert row.ratio == pytest.approx((ratio, ratio))


def test_links_are_compared_in_both_directions(rows: dict[str, FleetRow]) -> None:
    pcie, nvlink = rows["interconnect, both directions"].computed
    assert pcie is not None
    assert pcie[0] == pytest.approx(2 * 16 * 16e9 * 128 / 130 / 8 / 1e9)
    assert nvlink == (900, 900)


def test_a_token_costs_more_on_the_dearer_fleet_by_the_documents_own_figures(rows: dict[str, FleetRow]) -> None:
    of_7b, of_70b = (rows[f"cost per token, {size}"] for size in ("7B", "70B"))
    assert of_7b.ratio == pytest.approx((400 / 64 / (80 / 54), 400 / 64 / (60 / 54)))
    assert of_70b.ratio == pytest.approx((400 / 18 / (80 / 13.2), 400 / 18 / (60 / 13.2)))
    assert (of_7b.published_ratio, of_70b.published_ratio) == ("0.4 ×", "0.15 ×")
    assert of_7b.doubt
    assert of_70b.doubt


def test_the_published_sums_are_those_of_single_engines(reference: Reference) -> None:
    document = read_document(reference.document)
    totals = [[document.stated(part.key).value for part in cluster.parts] for cluster in reference.clusters]
    assert totals == [[12 * 4500], [6 * 3000], [4 * 4500, 4 * 3000]]
    assert [cluster.gpus for cluster in reference.clusters] == [12, 12, 12]
    assert [part.name for part in reference.clusters[2].parts] == [
        "4 × llama-3-8b bfloat16",
        "4 × llama-3-70b awq TP 2",
    ]


@pytest.mark.lengthy
def test_a_measured_cluster_stands_beside_the_published_one(reference: Reference, tmp_path: Path) -> None:
    row = write_point(tmp_path, "c", [1.0] * 12, ["llama-3-8b"] * 12, gpus=True)
    write_rows(tmp_path, [row])
    first, second, mixed = beside(reference, tmp_path)
    assert first.measured is not None
    assert first.ratio == pytest.approx(first.measured.output_tokens_per_s.mean / 54000)
    assert second.measured is mixed.measured is None


def test_another_number_of_engines_has_no_ratio(reference: Reference, tmp_path: Path) -> None:
    write_rows(tmp_path, [write_point(tmp_path, "c", [1.0] * 2, ["llama-3-8b"] * 2, gpus=True)])
    first, *_ = beside(reference, tmp_path)
    assert first.ratio is None
    assert "2 engines for 12" in first.differs


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[[clusters]]\nparts = [{ key = "x", model = "m", engines = 2 }]\n', "document is missing"),
        ('document = "l40s_x12"\n[[clusters]]\nparts = []\n', r"clusters\[0\].parts"),
        ('document = "l40s_x12"\n[[clusters]]\nparts = [{ key = "x", model = "m", engines = 0 }]\n', "engines"),
        (
            'document = "l40s_x12"\n[[fleets]]\nname = "a"\ngpu = "b"\ngpus = 1\nmemory_gb = 1\npower_w = 1\n'
            "engine_gpus_70b = 1\n",
            "fleets has 1 entries: two are compared, or none",
        ),
        ('load_in = "requests/min"\n', 'load_in is "requests/min", expected concurrent requests or requests/s'),
        ('[[figures]]\nmodel = "m"\nwhat = "speed_up"\nvalue = -1\n', r"figures\[0\].value is -1, expected"),
        ('[[figures]]\nmodel = "m"\nwhat = "ttft_p50_s"\nvalue = 1\n', r"figures\[0\].what is 'ttft_p50_s': known"),
        ('[[figures]]\nmodel = "m"\nwhat = "speed_up"\nvalue = 1\nunit = "s"\n', r"figures\[0\].unit is not known"),
    ],
)
def test_a_table_that_is_not_one_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'title = "t"\nsource = "s"\n{text}')
    with pytest.raises(InputError, match=sentence):
        read_reference(str(path))
