"""Rounding with gradients: how the steps of integers are trained."""
