"""A server of a command: a socket that is open before the address is printed, and a quiet end."""

from __future__ import annotations

import signal
import socket
from types import FrameType

import typer
import uvicorn

GRACE = 1  # seconds that open requests get when the process has to stop


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that accepts connections, or end the command with a message.

    It accepts them before the server runs: a printed address never refuses one.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        typer.echo(f"cannot listen on {host}, port {port}: {error.strerror}; try --port", err=True)
        raise typer.Exit(1) from None
    return listener


def serve(config: uvicorn.Config, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, and then return.

    uvicorn raises the signal again once it has stopped, for handlers that were there before it;
    without one of ours the process would end by the signal, or with a traceback.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        """Do nothing: uvicorn has stopped already."""

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)
    uvicorn.Server(config).run(sockets=[listener])
