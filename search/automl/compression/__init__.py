"""Making candidates: which channels go, what is left of the weights, and the finishing step."""
