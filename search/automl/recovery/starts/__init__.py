"""What weights a recovery begins with, one file each."""
