"""``pixel-bridge sandbox``: the stand-in for Meta and Segment, served."""

from __future__ import annotations

from typing import Annotated

import typer
import uvicorn

from bridge.cli.serving import GRACE, listen, serve
from bridge.sandbox import (
    DEFAULT_ACCESS_TOKEN,
    DEFAULT_PIXEL_ID,
    DEFAULT_WRITE_KEY,
    create_app,
)


def run_sandbox(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="PORT", help="Where to listen; 0 picks a free one."),
    ] = 8001,
    pixel_id: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A pixel that exists; may be repeated.")
    ] = None,
    access_token: Annotated[
        str, typer.Option(metavar="TOKEN", help="The token that may send events.")
    ] = DEFAULT_ACCESS_TOKEN,
    write_key: Annotated[
        str, typer.Option(metavar="KEY", help="The write key of Segment's source.")
    ] = DEFAULT_WRITE_KEY,
    shop: Annotated[
        str, typer.Option(metavar="URL", help="Where the app runs, for the page's tour.")
    ] = "",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Another name of this machine in the apps' URLs; may be repeated."
        ),
    ] = None,
) -> None:
    """Run a stand-in for Meta and Segment, with a page of the events."""
    pixel_ids = pixel_id or [DEFAULT_PIXEL_ID]
    listener = listen(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    print(f"Sandbox for Meta and Segment: {url}  (events page; stop with Ctrl-C)", flush=True)
    print(f"  pixel id      {', '.join(pixel_ids)}", flush=True)
    print(f"  access token  {access_token}", flush=True)
    print(f"  server events POST {url}/v26.0/{pixel_ids[0]}/events", flush=True)
    print(f"  pixel script  {url}/en_US/fbevents.js", flush=True)
    print(f"  write key     {write_key}", flush=True)
    print(f"  Segment       POST {url}/v1/batch", flush=True)
    config = uvicorn.Config(
        create_app(
            pixel_ids=pixel_ids,
            access_token=access_token,
            write_key=write_key,
            hosts=[host, *(allow_host or [])],
            shop=shop,
        ),
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=GRACE,
    )
    serve(config, listener)
