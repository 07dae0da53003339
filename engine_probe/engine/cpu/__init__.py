"""An engine on the CPU: AMX permission, core binding, the memory of the host and of the KV pool."""
