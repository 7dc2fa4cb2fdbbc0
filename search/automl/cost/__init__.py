"""What policies cost: operators are priced once, then the cost of a policy is indexing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
