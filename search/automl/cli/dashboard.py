"""`automl dashboard`: a run's trials in optuna-dashboard, also while it searches."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Annotated
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer

from automl.cli.terminal import hint, say
from automl.errors import Raised, StudyError, UsageError, attempt, install_command

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for a free one.")
]
_STUDY = "study.db"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Keep requests off the terminal."""


def dashboard(run: Run, host: Host = "127.0.0.1", port: Port = 8080) -> None:
    """Show a run's trials in optuna-dashboard until Ctrl-C, also while it searches."""
    if find_spec("optuna_dashboard") is None:
        raise UsageError(
            "trials are shown by optuna-dashboard, which is not installed: "
            f"{install_command('dashboard')}"
        )
    study = run / _STUDY
    if not study.is_file():
        raise StudyError(f"{study} does not exist: it is where a run keeps its trials")
    made = attempt(lambda: import_module("optuna_dashboard").wsgi(f"sqlite:///{study}"))
    if isinstance(made, Raised):
        raise StudyError(f"{study} cannot be shown: {made}") from made.error
    with make_server(host, port, made, server_class=_Server, handler_class=_Silent) as server:
        say(f"dashboard: http://{host}:{server.server_port}/")
        hint("Ctrl-C ends it")
        server.serve_forever()
