"""Addresses of databases as they may be shown."""

from __future__ import annotations

import re


def without_password(address: str) -> str:
    """An address without its password, whatever that holds, in the user's part or in the query."""
    shown = re.sub(r"(://[^:@]*):.*@", r"\1:***@", address)
    return re.sub(r"(?i)([?&][^=&]*(?:passw|pwd|secret|token)[^=&]*=)[^&]*", r"\1***", shown)
