"""Building a `vllm.LLM`: its arguments, the shipped models, memory, and the phases and errors of its start."""
