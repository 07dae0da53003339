"""How an `LLM` is built: arguments, shipped models, processes, memory, and the phases and errors of its start."""
