"""Whether answers stay the same under load: greedy answers of a run compared with those of a reference run.

    found = compare(aligned(reference, other) for other in others)     # the verdict on each request
    steps = first_divergent_steps(run tables, found of that run)       # the iteration that made the first other token
    tests = dependence(runs)                                           # on load, batch size, preemption, recomputation

Arithmetic in BF16 depends on which requests share a batch, so that a token with a near-tie can change without a fault.
`margin_noise.py` measures how far numerics move log-probabilities; `compare.py` tells near-ties from faults by it.
"""
