"""Pictures of pages about hardware: a table of links between GPUs, and the spread of samples."""

from collections.abc import Sequence

from page_kit.html import Html, element


def heat_table(names: Sequence[str], cells: dict[tuple[str, str], tuple[float, str, str]], best_is_high: bool) -> Html:
    """Make a table from each name to each; better values have a stronger colour.

    `cells` holds a value, its text and its tooltip.
    """
    values = [value for value, _, _ in cells.values()]
    low, high = min(values), max(values)
    rows = []
    for source in names:
        row: list[str] = [element("th", source, scope="row")]
        for target in names:
            if (source, target) not in cells:
                row.append(element("td", "–" if source == target else ""))
                continue
            value, text, tooltip = cells[source, target]
            share = (value - low) / (high - low) if high > low else 1.0
            strength = 12 + 58 * (share if best_is_high else 1 - share)
            background = f"background: color-mix(in srgb, var(--c2) {strength:.0f}%, var(--card))"
            row.append(element("td", text, title=tooltip, style=background))
        rows.append(element("tr", *row))
    head = element("tr", element("th", "from \\ to"), *(element("th", name) for name in names))
    return element(
        "div", element("table", element("thead", head), element("tbody", *rows), class_="heat"), class_="wide"
    )


def spread_box(quantiles: Sequence[float], title: str) -> Html:
    """Draw a box with whiskers of four quantiles, given as shares of the median; the picture's edges are ± 0.05."""
    width, height, edge = 110.0, 18.0, 0.05

    def at(share: float) -> float:
        return width / 2 * (1 + max(-1.0, min(1.0, share / edge)))

    least, low, high, most = (at(value) for value in quantiles)
    parts = (
        element("title", title),
        element("line", x1=width / 2, y1=2, x2=width / 2, y2=height - 2, class_="grid"),
        element("line", x1=least, y1=height / 2, x2=most, y2=height / 2, class_="whisker"),
        element("rect", x=low, y=4, width=max(2.0, high - low), height=height - 8, rx=2, class_="box"),
    )
    return element("svg", *parts, viewBox=f"0 0 {width:g} {height:g}", class_="spread", role="img", aria_label=title)
