"""What every method has to hold to, for tests: inherit the contract of its kind.

    from automl.testing import AgentContract

    class TestMine(AgentContract):
        name = "mine"  # of an entry point in the group "automl.agents"; or override `make`

pytest runs it as it is; nothing here needs pytest.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
