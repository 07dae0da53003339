"""The figures of single steps: what held each up, how long it took, and how near the ceilings it came.

`roofline.py` derives the bytes and operations of every step from the weights of each rank and the iterations table.
What a step attends to follows from stretches and prompts (`attention_work.py`); steps with several prompts in pieces,
experts and sliding windows have a lower and an upper bound. Held against the ceilings that `engine_probe validate`
measured on the device, they give MBU and MFU, and they split "model" into compute and memory bandwidth where one
ceiling surely explains half of a step's time.

A ceiling is trusted, doubtful (unstable, or measured beside other programs) or unknown; verdict and reasons are in
`run.json` and beside every figure that rests on it. The newest trusted measurement counts; without one the highest,
because other programs only make a device slower. A share above 100 % is impossible: it is marked, and nothing is
concluded from it. Speculative decoding, pipeline, data, expert and context parallelism, MLA and state-space layers give
a reason in place of a roofline.
"""
