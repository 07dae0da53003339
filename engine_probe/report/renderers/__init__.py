"""One module for each medium: terminal, HTML page, Markdown, notebook, JSON, JUnit, Perfetto.

A new medium is a module here that takes a `Document`, and an option of `commands/report/` and `commands/compare.py`.
JSON, JUnit and Perfetto are read by programs: they take the figures that documents are made of, under names that stay.

A page is data and one script that draws it. It loads nothing, and its content security policy forbids loading. Series
are thinned to means and extremes before they are written, so a million steps make half a megabyte. Every name is
escaped. The tests open every kind of page in Chromium, and traces in Perfetto's own engine.
"""
