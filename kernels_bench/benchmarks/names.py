"""The names of the tests, each with its question. The command line reads them before torch is loaded."""

TESTS = {
    "memory": "how fast is memory read and written?",
    "gemm": "how fast are matrix products, and are they right?",
    "attention": "how fast is the KV cache read and gathered?",
    "launch": "how long does launching one operator take?",
    "pcie": "how fast is the link between host and GPU?",
    "sustained": "what rate remains once the device is warm?",
    "p2p": "how fast is the link from GPU to GPU?",
    "allreduce": "how fast is an all-reduce over all GPUs?",
}
# Modules whose names differ from their test's.
MODULES = {"memory": "memory_bandwidth", "gemm": "matmul", "launch": "launch_latency", "sustained": "sustained_matmul"}
BETWEEN = ("p2p", "allreduce")
