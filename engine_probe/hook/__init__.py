"""The only code that knows vLLM's inside: hooks on the scheduler, the KV block pool and the workers.

In this process a `Probe` replaces methods of the *instance* and puts them back. In vLLM's other processes the entry
point `vllm.general_plugins` calls `plugin.register`; with `ENGINE_PROBE_RECORD` set, it wraps the beginning and the end
of every engine core (`core_lifecycle.py`), and each core records into a folder of its own.

A step without arrivals, departures or preemptions costs six readings of the clock, two of the number of free blocks,
and one packed row. Hooks on rare events leave a note of flows and levels under the number of the step. A running
request gets a token in nearly every step, so only the stretches of steps in which it does are kept.

Counters can drift. At close they are compared with a walk over the scheduler and the block pool
(`between_steps.py` waits until no thread is inside), and a difference marks the recording incomplete. In the tests an
independent witness walks the running list, the queues and the pool in every step: levels, tokens by kind, blocks and
live tokens must agree in every row, and flows must explain levels. Recomputed and cached tokens are compared as sums.
"""
