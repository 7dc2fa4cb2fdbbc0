"""Which channels matter least: one file a criterion."""
