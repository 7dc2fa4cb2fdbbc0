"""The choices: kinds of them, what a network leaves open, and policies as vectors of options."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
