"""``python -m example_app``: run the shop, alone or with the sandbox beside it."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import uvicorn

from bridge.errors import ConfigError
from example_app.app import create_app
from example_app.sandbox import SANDBOX_HOST, running_sandbox
from example_app.settings import DESTINATIONS, SANDBOX_PORT, read_settings


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the shop until Ctrl-C, which also ends the sandbox."""
    parser = argparse.ArgumentParser(prog="python -m example_app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--with-sandbox", action="store_true", help="start the sandbox as well")
    parser.add_argument("--sandbox-port", type=int, default=SANDBOX_PORT)
    parser.add_argument("--to", choices=DESTINATIONS, help="where events go: meta by default")
    options = parser.parse_args(argv)

    environ = {**os.environ, **({"SHOP_SENDS_TO": options.to} if options.to else {})}
    try:
        settings = read_settings(environ, sandbox_port=options.sandbox_port)
    except ConfigError as error:
        parser.error(str(error))
    if settings.sandbox_url is None and (options.with_sandbox or options.to):
        parser.error(
            "--with-sandbox and --to are for the shop without BRIDGE_ACCESS_TOKEN and"
            " BRIDGE_SEGMENT_WRITE_KEY: unset them"
        )
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    # SIGTERM and SIGHUP act like Ctrl-C, so that the sandbox ends too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))

    with suppress(KeyboardInterrupt), ExitStack() as stack:
        try:
            app = create_app(settings)
            shop = stack.enter_context(listen(options.host, options.port))
            url = f"http://{options.host}:{shop.getsockname()[1]}"
            if options.with_sandbox:
                listen(SANDBOX_HOST, options.sandbox_port).close()
                stack.enter_context(running_sandbox(options.sandbox_port, settings.bridge, url))
        except (ConfigError, OSError) as error:
            sys.exit(f"example_app: {error}")
        write(f"\n  The shop     {url}\n")
        write(f"  Its events   {settings.sandbox_url or 'go to Meta'}\n\n  Ctrl-C ends it.\n\n")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        server.run(sockets=[shop])
        if not server.started:
            sys.exit("example_app: the shop did not start")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        reason = "it is taken" if error.errno == errno.EADDRINUSE else error.strerror
        raise OSError(f"cannot listen on {host}, port {port}: {reason}") from error


def write(text: str) -> None:
    """Write to the terminal at once, even when it is a pipe."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
