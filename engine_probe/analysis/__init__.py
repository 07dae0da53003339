"""Pure functions over recorded tables: numbers in, numbers out. Needs neither vllm nor torch."""
