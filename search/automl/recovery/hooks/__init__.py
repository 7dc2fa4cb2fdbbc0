"""What is done to a network between the steps of its training, one file each."""
