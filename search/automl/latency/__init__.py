"""Latency tables and what predicts the operators that they lack."""
