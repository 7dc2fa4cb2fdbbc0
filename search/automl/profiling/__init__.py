"""Measuring operators and whole networks on a device."""
