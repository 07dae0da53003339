"""What Jupyter shows of a run, a summary, a sweep and its points: the report draws it, imported only then."""


class NotebookView:
    """Shows an object in a notebook."""

    def _repr_html_(self) -> str:
        from engine_probe.report.renderers.notebook import html_of

        return html_of(self)
