"""How well a model predicts a text, scored by a started engine.

A local text becomes token ids once and is cut into windows. vLLM's `prompt_logprobs` give the log-probability of each
token; the prefix cache is bypassed for them. `perplexity.json` keeps the sum of each window and a checksum over all
token ids. Two engines that scored the same windows are compared by the differences of their windows (paired t), which
resolves a tenth of a percent where the interval of one figure is several percent wide. A token without a finite
probability is counted, and then there is no figure.

In a sweep a text is a point of its own, the last on each engine, because scoring takes memory beside the KV pool (a
window's logits in float32). It is not recorded, so no other point's figures contain it.
"""
