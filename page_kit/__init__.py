"""What the pages of engine_probe and of kernels_bench share: elements, the document around them, and charts as SVG."""
