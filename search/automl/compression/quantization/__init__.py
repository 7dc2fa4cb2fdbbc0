"""Weights and activations in few bits: QParams, rounding, and what it does to the outputs."""
