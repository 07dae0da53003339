"""Several engines that are measured together: their sum, their balance, and how throughput scales with their number.

The sum counts the tokens that all engines delivered in one window, in which every one of them runs: their recordings
are laid on one clock, and each engine's tokens in the window are counted by the ends of its steps. Latencies are those
of all requests of all engines, put together before any percentile is taken.
"""
