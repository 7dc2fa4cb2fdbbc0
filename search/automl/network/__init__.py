"""Reading a network: layers, coupled channels, removable blocks, and physical surgery on them."""
