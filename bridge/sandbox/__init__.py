"""A stand-in for Meta's and Segment's servers, and an events page.

Graph endpoint, pixel hits, pixel library; Segment's HTTP Tracking API and its destination for Meta.
It marks our homework: it is written from the documents and from measurements of the pixel, is as
strict as they are, and imports nothing else of this package.
"""

from bridge.sandbox.app import (
    DEFAULT_ACCESS_TOKEN,
    DEFAULT_PIXEL_ID,
    DEFAULT_WRITE_KEY,
    create_app,
)

__all__ = ["DEFAULT_ACCESS_TOKEN", "DEFAULT_PIXEL_ID", "DEFAULT_WRITE_KEY", "create_app"]
