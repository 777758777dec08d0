"""A stand-in for Meta's servers: Graph endpoint, pixel hits, pixel library, and an events page.

It marks our homework, so it is written from Meta's documents and from measurements of the pixel,
as strict as they are, and imports nothing else of this package.
"""

from bridge.sandbox.app import DEFAULT_ACCESS_TOKEN, DEFAULT_PIXEL_ID, create_app

__all__ = ["DEFAULT_ACCESS_TOKEN", "DEFAULT_PIXEL_ID", "create_app"]
