"""What leaves the search: smaller models, ONNX files, and latency proved by measuring it."""
