"""Weights and activations in few bits: grids, rounding, and what it does to the outputs."""
