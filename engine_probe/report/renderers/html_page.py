"""One self-contained page: it loads nothing, and a policy in it forbids that it ever does."""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine_probe.report.charts.model import Chart
from engine_probe.report.renderers.html_elements import Html, element

ASSETS = Path(__file__).parent / "assets"
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


class Page:
    """Collects charts while the body is written, and puts both into one document."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._charts: list[Chart] = []

    def figure(self, chart: Chart, tag: str = "h3") -> Html:
        self._charts.append(chart)
        place = element("div", class_="plot", data_chart=str(len(self._charts) - 1), role="img", aria_label=chart.title)
        return element("figure", element(tag, chart.title), element("figcaption", chart.note), place)

    def document(self, *body: str) -> str:
        # In a script element only "</" and "<!--" could end the data early.
        data = msgspec.json.encode(self._charts).decode().replace("<", "\\u003c")
        style = Html(asset("uPlot.min.css") + asset("page.css"))
        head = element(
            "head",
            Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
            element("title", self._title),
            element("style", style),
        )
        scripts = (
            element("script", Html(data), id="charts", type="application/json"),
            element("script", Html(f"/*\n{asset('uPlot.LICENSE')}*/\n{asset('uPlot.iife.min.js')}")),
            element("script", Html(asset("page.js"))),
        )
        return (
            f"<!doctype html>\n{element('html', head, element('body', element('main', *body), *scripts), lang='en')}\n"
        )


def asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def heading(title: str, below: str) -> Html:
    switch = element("button", "light / dark", id="theme", type="button")
    return element("header", element("h1", title), switch, element("div", below, class_="soft"))
