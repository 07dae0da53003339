"""HTML elements, documents and SVG charts that the pages of engine_probe and kernels_bench share."""
