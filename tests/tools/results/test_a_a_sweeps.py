"""Sweeps of one engine are compared in all pairs and in all divisions into two sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.evaluation.measurement import opened
from tests.support.recordings.golden import write_repeated
from tools.results.a_a_sweeps import Sweep, divisions, main, pairs


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> list[Sweep]:
    place = tmp_path_factory.mktemp("a_a")
    folders = [write_repeated(place / f"sweep{prompt}", 90, (4, 12, 20), prompt) for prompt in (46, 48, 47, 49)]
    return [(folder, opened(folder)) for folder in folders]


@pytest.mark.lengthy
def test_each_pair_and_each_division_is_judged_once(sweeps: list[Sweep]) -> None:
    alone, known, halves = pairs(sweeps, with_history=False), pairs(sweeps, with_history=True), divisions(sweeps)
    assert (len(alone), len(known), len(halves)) == (6, 6, 3)
    assert not any(each.told or each.broken for each in (*alone, *known))
    assert all(each.open for each in alone)
    assert not all(each.open for each in known)


@pytest.mark.lengthy
def test_a_sweep_of_another_engine_is_told(sweeps: list[Sweep], tmp_path: Path) -> None:
    others = [write_repeated(tmp_path / f"other{prompt}", 40, (4, 12, 20), prompt) for prompt in (46, 48)]
    found = divisions([*sweeps[:2], *((folder, opened(folder)) for folder in others)])
    assert found[0].told
    assert found[0].broken


@pytest.mark.lengthy
def test_the_page_has_a_table_for_each(sweeps: list[Sweep], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place, page = sweeps[0][0].parent, tmp_path / "page.md"
    page.write_text("# Old\n\n## By hand\n\nnot kept\n")
    monkeypatch.setattr("sys.argv", ["a_a_sweeps", str(place), "--write", str(page), "--remark", "It was quiet."])
    main()
    text = page.read_text()
    assert text.count("| any change called better or worse | 0 |") >= 2
    assert ["of 6 |" in text, "of 3 |" in text] == [True, True]
    assert "| sweep46 | +0.0% |" in text
    assert "cores. It was quiet.\n" in text
    assert "0 of 3 have any change called better or worse, where 5 % would be 0.1" in " ".join(text.split())
    assert not {"# Old", "kept"} & set(text.splitlines())


def test_too_few_sweeps_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["a_a_sweeps", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
