"""Kernels in C++ for training on a CPU; XLA does without them where they do not serve."""
