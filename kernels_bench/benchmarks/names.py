"""The tests by name, and the question of each. Light: the command line asks here before torch is loaded."""

from __future__ import annotations

TESTS = {
    "memory": "how many bytes per second come and go?",
    "gemm": "how many operations per second, and are they right?",
    "attention": "how fast is the KV cache read and gathered?",
    "launch": "what does starting one operator cost?",
    "pcie": "how fast is the way between host and card?",
    "sustained": "what is left of the rate once it is warm?",
    "p2p": "how fast is the way from card to card?",
    "allreduce": "how fast do all cards add up?",
}
# Where the module of a test is called otherwise
MODULES = {
    "memory": "memory_bandwidth",
    "gemm": "matmul",
    "launch": "launch_latency",
    "sustained": "sustained_matmul",
}
BETWEEN = ("p2p", "allreduce")
