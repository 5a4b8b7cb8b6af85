"""Train and ablate residual networks with JAX and Flax."""

__version__ = "0.1.0"
