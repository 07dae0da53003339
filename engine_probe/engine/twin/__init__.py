"""Predicting what an engine would do: vLLM's real engine core, scheduler and block manager on a virtual clock.

Only the executor is replaced: it computes nothing, and says how long each step would take. The probe, the workload's
driver and vLLM read the virtual clock, so that a recording of the twin has the tables of a real one.
"""
