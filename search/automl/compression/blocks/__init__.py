"""Alternatives of a block that are not linear: one file each."""
