"""The worker as the one file that a board is sent."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent
#: What the worker is made of, and the names under which Python finds them in one file.
_FILES: Final = {
    "worker.py": "__main__.py",
    "worker_products.py": "worker_products.py",
    "worker_state.py": "worker_state.py",
    "worker_tensorrt.py": "worker_tensorrt.py",
}
_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the same bytes every time


def worker_bundle() -> bytes:
    """A zip file that `python FILE` runs, whatever it is called: the worker and its runtimes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as bundle:
        for source, name in _FILES.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(entry, (_FOLDER / source).read_bytes())
    return content.getvalue()
