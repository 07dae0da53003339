"""What the layers of a twin's model keep in the KV cache: derived from its configuration, or as vLLM's code says."""
