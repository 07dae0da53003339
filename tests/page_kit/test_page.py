"""The document around a page."""

from __future__ import annotations

from page_kit.page import document, outlined


def test_headings_are_numbered_by_their_depth() -> None:
    given = "<h1>a</h1><h3>b</h3><h3 id='x'>c</h3><h2>d</h2><h3>e</h3><h5>f</h5>"
    assert outlined(given) == "<h1>a</h1><h2>b</h2><h2 id='x'>c</h2><h2>d</h2><h3>e</h3><h4>f</h4>"


def test_text_is_escaped_and_the_page_forbids_loading() -> None:
    page = document("<b>", "<img src=x>", styles=["p {}"])
    assert "<title>&lt;b&gt;</title>" in page
    assert "<main>&lt;img src=x&gt;</main>" in page
    assert "default-src 'none'" in page.replace("&#x27;", "'")
    assert page.index("--paper") < page.index("p {}")
