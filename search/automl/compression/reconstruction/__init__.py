"""What the remaining weights become: one file a method."""
