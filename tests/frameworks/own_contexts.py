"""gunicorn's worker for asgiref's adapter: ``uvicorn --reset-contextvars`` by its other name."""

from __future__ import annotations

from typing import Any, ClassVar

from uvicorn_worker import UvicornWorker


class OwnContextsWorker(UvicornWorker):  # type: ignore[misc] # it has no types
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        **UvicornWorker.CONFIG_KWARGS,
        "reset_contextvars": True,
    }
