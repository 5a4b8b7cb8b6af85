"""Ablations: many runs that differ in what is asked about and in their seed."""
