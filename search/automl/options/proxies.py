"""What stands for a policy's finished network while candidates are ranked."""

from __future__ import annotations

from typing import Any, Final

from automl.errors import UnknownNameError, UsageError

#: The quick finishing step.
REFIT: Final = "refit"
#: Filters with the largest L1 norms, their batch norms re-estimated: EagleEye's.
ADAPTIVE_BN: Final = "adaptive-bn"
PROXIES: Final = (REFIT, ADAPTIVE_BN)


def check_proxy(value: Any) -> str:
    """A proxy's name.

    Raises:
        UnknownNameError: There is none of that name; names the nearest.
        UsageError: It is no name.
    """
    if not isinstance(value, str):
        raise UsageError(f"expected one of {', '.join(PROXIES)}, found {value!r:.60}")
    if value not in PROXIES:
        raise UnknownNameError("proxy", value, PROXIES)
    return value
