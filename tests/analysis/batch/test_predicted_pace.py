"""Which term of a predicted step is the longest, by prices that make one of them so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine_probe.analysis.batch.predicted_pace import predicted_pace
from engine_probe.analysis.step.bottleneck import NAMES, limits, sentence
from tests.support.recordings.run_folders import facts, ran
from tests.support.recordings.small_tables import table

WORKERS = table("workers", [])


def price(ns: float) -> dict[str, float]:
    return {"ns": ns}


def twin(prices: dict[str, float], bounds: bool = True, **more: Any) -> dict[str, Any]:
    """A prediction as `run.json` holds it."""
    return {"step_times": {"prices": {name: price(ns) for name, ns in prices.items()}, **more}, "bounds": bounds}


def datasheet(weights: float, cache: float, products: float = 0.0, link: float = 0.0) -> dict[str, Any]:
    beside = dict.fromkeys(("prompt token", "answer token", "padding"), price(products))
    more = {"matrices": [(1.0, link), (2.0, 2 * link)]} if link else {}
    return twin({"step": weights, "answer attention": cache}, beside=beside, **more)


# Four requests of 48 to 88 tokens: an answer step reads 192 to 352 tokens of the cache and computes four.
@pytest.mark.parametrize(
    ("prediction", "limit"),
    [
        (datasheet(1000, 1), "reading weights"),
        (datasheet(100, 1), "reading KV cache"),
        (datasheet(100, 1, products=200), "compute"),
        (datasheet(100, 1, products=200, link=300), "links between GPUs"),
        (datasheet(300, 2, products=150), "reading KV cache"),  # reading both takes longer than 600 ns
        (twin({"step": 10}, bounds=False, host={"step": price(11)}), "host"),
        (twin({"step": 10}, bounds=False, host={"step": price(9)}), "model"),
        (twin({"step": 150, "answer attention": 1}, False, sources=[["", "", ""]]), "reading KV cache"),
        (twin({"step": 400, "answer attention": 1}, False, sources=[["", "", ""]]), "model"),
    ],
)
def test_the_longest_term_is_the_limit_of_an_answer_step(prediction: dict[str, Any], limit: str) -> None:
    if sources := prediction["step_times"].get("sources"):
        prediction["step_times"]["sources"] = [dict(zip(("part", "formula", "figures"), sources[0], strict=True))]
    tables = ran(4)
    found = predicted_pace(facts() | {"predicted": prediction}, tables["iterations"], tables["requests"])
    assert found is not None
    answers_alone = tables["iterations"]["prefill_tokens"].to_numpy() == 0
    assert {NAMES[each] for each in found.limit[answers_alone]} == {limit}


def test_terms_are_shares_of_the_busy_time_and_the_verdict_calls_them_predicted() -> None:
    tables = ran(4)
    told = facts() | {"predicted": datasheet(1000, 0, products=1, link=2)}
    pace = predicted_pace(told, tables["iterations"], tables["requests"])
    found = limits(told, tables["iterations"], tables["requests"], tables["preemptions"], WORKERS, predicted=pace)
    assert pace is not None
    tokens = tables["iterations"]["scheduled_tokens"].to_numpy()
    assert pace.terms["reading weights"].tolist() == [1000.0] * len(tokens)
    np.testing.assert_allclose(pace.terms["computing"], tokens)
    np.testing.assert_allclose(pace.terms["collectives"], 2 * tokens)
    assert list(found.terms) == ["reading weights", "computing", "collectives"]
    assert found.terms["collectives"] == pytest.approx(2 * found.terms["computing"])
    assert found.main_with_doubt == "reading weights (predicted)"
    assert sentence(found).startswith("Predicted: memory bandwidth (reading weights) is the bottleneck")


def test_padding_is_that_of_the_twins_graphs() -> None:
    tables = ran(4)
    prediction = datasheet(0, 0, products=1)
    prediction["step_times"]["graph_sizes"] = [8]
    found = predicted_pace(facts() | {"predicted": prediction}, tables["iterations"], tables["requests"])
    assert found is not None
    tokens = tables["iterations"]["scheduled_tokens"].to_numpy()
    assert found.terms["computing"].tolist() == np.where(tokens <= 8, 8.0, tokens).tolist()


def test_what_was_measured_or_has_no_prices_has_no_terms() -> None:
    tables = ran(2)
    assert predicted_pace(facts(), tables["iterations"], tables["requests"]) is None
    empty = facts() | {"predicted": {"step_times": {"prices": {}}}}
    assert predicted_pace(empty, tables["iterations"], tables["requests"]) is None


@pytest.mark.parametrize(
    "damaged",
    [[], {}, {"step_times": None}, {"step_times": {"prices": 1}}, {"step_times": {}, "bounds": True}],
    ids=str,
)
def test_a_prediction_whose_step_times_cannot_be_read_has_no_terms(damaged: Any) -> None:
    """It was written by an earlier version, or something damaged it; the rest of its report is still made."""
    tables = ran(4)
    assert predicted_pace(facts() | {"predicted": damaged}, tables["iterations"], tables["requests"]) is None


def test_a_prediction_without_the_price_of_a_step_reads_no_weights() -> None:
    tables = ran(4)
    found = predicted_pace(
        facts() | {"predicted": twin({"answer attention": 1.0})}, tables["iterations"], tables["requests"]
    )
    assert found is not None
    assert not found.terms["reading weights"].any()
    assert found.terms["reading the KV cache"].any()
