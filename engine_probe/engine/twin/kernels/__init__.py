"""Step times from the kernels that a device was measured with."""
