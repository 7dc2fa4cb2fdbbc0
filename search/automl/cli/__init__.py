"""The command: parses, calls, prints. Heavy imports wait until a command needs them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
