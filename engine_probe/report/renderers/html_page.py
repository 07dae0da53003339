"""A self-contained page: charts as data, and the script that draws them."""

import msgspec

from engine_probe.report.charts.description import described
from engine_probe.report.charts.model import Chart
from page_kit import page
from page_kit.html import Html, element, figure
from page_kit.page import heading as heading


class Page:
    """Collects the charts while the body is written, and returns both as one HTML document."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._charts: list[Chart] = []

    def figure(self, chart: Chart, tag: str = "h3") -> Html:
        number = str(len(self._charts))
        self._charts.append(chart)
        place = element("div", class_="plot", data_chart=number, role="img", aria_label=described(chart))
        return figure(chart.title, chart.note, place, heading=tag)

    def document(self, *body: str) -> str:
        # In a script element only "</" and "<!--" could end the data early.
        data = msgspec.json.encode(self._charts).decode().replace("<", "\\u003c")
        scripts = (
            element("script", Html(data), id="charts", type="application/json"),
            element("script", Html(f"/*\n{asset('uPlot.LICENSE')}*/\n{asset('uPlot.iife.min.js')}")),
            element("script", Html(asset("page.js"))),
        )
        return page.document(self._title, *body, styles=map(asset, ("uPlot.min.css", "page.css")), scripts=scripts)


def asset(name: str) -> str:
    return page.asset("engine_probe.report.renderers", f"assets/{name}")
