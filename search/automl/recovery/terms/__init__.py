"""Losses that a recovery is made of, one file each."""
