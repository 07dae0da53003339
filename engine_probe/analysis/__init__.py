"""Pure functions from recorded tables to figures. Needs neither vllm nor torch.

Every metric is declared once, with its unit and formula: latencies in `run/latencies.py`, what `compare` judges in
`compare/changes.py`, what happens inside the engine in `engine_metrics.py`, money in `money/curve_costs.py`. Every
percentile is that of `statistics/sample.py`, which interpolates as numpy and `vllm bench` do.
"""
