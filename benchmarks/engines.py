"""The outbox's engines that can be measured here, on servers of our own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from bridge.errors import ConfigError
from bridge.outbox.engines import load_engine

SQLITE, POSTGRES, REDIS = "SQLite", "PostgreSQL", "Redis"
CLUSTER = "Redis, a cluster of three"


def _load(engine: str) -> Callable[[], AbstractContextManager[str]]:
    # The tests' own servers; they and the outboxes need the packages of scripts/install test.
    if engine == POSTGRES:
        load_engine("PostgresOutbox")
        from tests.postgres_server import running_postgres

        return running_postgres
    load_engine("RedisOutbox")
    from tests.redis_server import running_cluster, running_redis

    return running_cluster if engine == CLUSTER else running_redis


def run_server(engine: str) -> AbstractContextManager[str]:
    """Run an empty server of ``engine``; yields its URL."""
    return _load(engine)()


@contextlib.contextmanager
def run_servers() -> Iterator[dict[str, str]]:
    """Run a server of each engine that is installed; yield their URLs by engine."""
    with contextlib.ExitStack() as stack:
        urls = {}
        for engine in (POSTGRES, REDIS):
            try:
                urls[engine] = stack.enter_context(run_server(engine))
            except (ConfigError, ImportError, RuntimeError) as error:
                print(f"{engine} is left out: {error}; see scripts/install", file=sys.stderr)
        yield urls
