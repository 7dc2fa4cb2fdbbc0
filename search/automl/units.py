"""Budgets as people write them, and quantities as people read them. Inside: seconds, bytes, MACs."""
