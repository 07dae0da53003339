"""Perplexity of a text, scored by a started engine.

A local text is encoded once and cut into windows. vLLM's `prompt_logprobs` give the log-probability of each token; the
prefix cache is bypassed for such requests. `perplexity.json` holds the sum of each window and a checksum over all token
ids. Two engines that scored the same windows are compared by the differences of their windows (paired t), which
resolves a tenth of a percent although the interval of one figure is several percent wide. Tokens without a finite
probability are counted, and then there is no figure.

In a sweep a text is a separate point, the last on each engine, because scoring needs memory outside the KV pool (a
window's logits in float32). It is not recorded, so it affects no other point's figures.
"""
