"""Making candidates: which channels go, what the remaining weights become, and the finishing step."""
