"""The kinds of choices, one file each: what is open, and what an option does to a model."""
