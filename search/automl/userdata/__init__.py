"""The user's model, data, score and automl.toml, checked where they enter."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
