"""Sweeps: each file's `get_sweep` returns arms, overrides of one base config, and seeds."""
