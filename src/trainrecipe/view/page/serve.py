"""Serves the page on this machine: a free port, a fresh token, and the address that holds it."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from pathlib import Path

import uvicorn

from trainrecipe.view.page.app import application
from trainrecipe.view.page.project import Project
from trainrecipe.wrong_use import WrongUse


def serve(directory: Path, only: Path | None = None, *, port: int = 0, open_browser: bool = True) -> None:
    """Serve until Ctrl-C. Raises WrongUse where the port is taken."""
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise WrongUse(f"--port {port}: {error.strerror}; leave it out to get a free one") from None
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(24)
    app = application(Project(directory, only), token, f"trainrecipe-{port}")
    # The address holds the key: whoever can read the terminal can open the page, and nobody else.
    address = f"http://127.0.0.1:{port}/?token={token}"
    print(f"{address}\nThis machine only; Ctrl-C ends it.", flush=True)
    if open_browser:
        webbrowser.open(address)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
