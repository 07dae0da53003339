"""The only code that knows vLLM's inside: hooks on the scheduler, the KV block pool and the workers.

In this process a `Probe` replaces methods of the scheduler *instance* and puts them back. In vLLM's other processes the
entry point `vllm.general_plugins` calls `plugin.register`; with `ENGINE_PROBE_RECORD` set, it wraps the start and the
shutdown of every engine core (`core_lifecycle.py`), and each core records into a folder of its own.

A step without arrivals, departures or preemptions costs six clock readings, two readings of the number of free blocks
and one packed row. When something else happens, the step also gets a note with two kinds of figures: flows (what
arrived, was preempted, left ...) and levels (how many are running, waiting ...). A running request gets a token in
nearly every step, so only its stretches are kept: runs of consecutive steps that each gave it a token.

Counters can drift. At close they are compared with a walk over the scheduler and the block pool (`between_steps.py`
keeps other threads out meanwhile), and a difference marks the recording incomplete. In the tests an independent
witness walks the running list, the queues and the pool in every step.
"""
