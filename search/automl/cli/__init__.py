"""The command: parses, calls, prints. Heavy imports wait until a command needs them."""
