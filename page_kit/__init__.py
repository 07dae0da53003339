"""How both packages draw a page: HTML elements, documents, and the lines and axes of a chart in SVG."""
