"""Meta's Conversions API: events as a Graph request, its answer as a verdict.

The token travels inside the JSON body, never in a URL, where proxies and logs would keep it.

Source: Meta, "Using the API", "Main Body Parameters", "Handling Errors" and "Marketing API Error
Codes", read 2026-11-23.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.datastructures import Secret

from bridge.destinations.base import Accepted, Paused, Rejected, Request, Retry, Verdict
from bridge.errors import ConfigError
from bridge.events import Event

GRAPH_URL = "https://graph.facebook.com"
API_VERSION = "v26.0"
BATCH_SIZE = 1000  # "You can send up to 1,000 events in data"
MAX_REASON = 500  # characters of Meta's words that are kept
MAX_RETRY_AFTER = 3600.0  # seconds

# Codes that pass with time: unknown and temporary errors, rate limits, temporary blocks.
_TRANSIENT = frozenset(
    {1, 2, 4, 17, 32, 341, 368, 613, 5000, 80000, 80003, 80004, 80014, 1404078, 2859015, 3910001}
)
# Codes that speak of us, not of an event: token, permission, pixel id. 200 to 299 belong to them.
_REFUSES_US = frozenset({3, 10, 102, 104, 190, 294, 803})
_INVALID_PARAMETER = 100
_OBJECT_UNREACHABLE = 33  # subcode of code 100: wrong pixel id, or token not assigned to it


class _GraphError(msgspec.Struct):
    code: int = 0
    error_subcode: int | None = None
    message: str = ""
    is_transient: bool = False
    error_user_msg: str | None = None
    fbtrace_id: str | None = None

    def __str__(self) -> str:
        words = self.error_user_msg or self.message
        number = f"{self.code}/{self.error_subcode}" if self.error_subcode else str(self.code)
        return f"{number}: {words[:MAX_REASON]} (fbtrace_id {self.fbtrace_id})"


class _GraphAnswer(msgspec.Struct):
    events_received: int | None = None
    error: _GraphError | None = None


class Meta:
    """One pixel's Conversions API.

    Args:
        pixel_id: The pixel or dataset id, digits.
        access_token: From Events Manager; kept out of URLs, logs and ``repr``.
        graph_url: Base address of the Graph API.
        api_version: Graph version, such as ``v26.0``.
        test_event_code: Shows the events under "Test events"; they still count.
        partner_agent: Platform id, for those who send for others.

    Raises:
        ConfigError: A value that cannot be right.
    """

    def __init__(
        self,
        pixel_id: str | int,
        access_token: str | Secret | None,
        *,
        graph_url: str = GRAPH_URL,
        api_version: str = API_VERSION,
        test_event_code: str | None = None,
        partner_agent: str | None = None,
    ) -> None:
        self.pixel_id = str(pixel_id)
        if not re.fullmatch(r"[0-9]{1,20}", self.pixel_id):
            raise ConfigError(f"pixel_id must be digits, got {self.pixel_id[:40]!r}")
        if access_token is None or not str(access_token).strip():
            raise ConfigError("access_token is empty; make one in Events Manager, pixel settings")
        if not graph_url.startswith(("http://", "https://")):
            raise ConfigError(f"graph_url must start with http(s)://, got {graph_url!r}")
        if not re.fullmatch(r"v[0-9]{1,3}\.[0-9]", api_version):
            raise ConfigError(f"api_version must be like {API_VERSION}, got {api_version!r}")
        self.name = f"meta:{self.pixel_id}"
        self.batch_size = BATCH_SIZE
        self._url = f"{graph_url.rstrip('/')}/{api_version}/{self.pixel_id}/events"
        parameters: dict[str, Any] = {"access_token": str(access_token).strip()}
        if test_event_code:
            parameters["test_event_code"] = test_event_code
        if partner_agent:
            parameters["partner_agent"] = partner_agent
        self._tail = b"]," + msgspec.json.encode(parameters)[1:]

    def encode(self, event: Event) -> bytes:
        """Return ``event`` as one object of ``data``."""
        return msgspec.json.encode(event)

    def build_request(self, bodies: Sequence[bytes]) -> Request:
        """Return the POST that carries ``bodies``, at most 1000."""
        return Request(
            url=self._url,
            content=b'{"data":[' + b",".join(bodies) + self._tail,
            headers={"content-type": "application/json"},
        )

    def read_response(self, status: int, headers: Mapping[str, str], content: bytes) -> Verdict:
        """Return what Meta's answer means for the whole request.

        One bad event refuses all: "the entire request is rejected". What is not Graph's JSON came
        from something in between, and counts as transient.
        """
        after = _read_retry_after(headers)
        try:
            answer = msgspec.json.decode(content, type=_GraphAnswer)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return Retry(f"HTTP {status} without Graph's JSON", after)
        if answer.error is None:
            if status == 200 and answer.events_received is not None:
                return Accepted()
            return Retry(f"HTTP {status} without events_received", after)
        return _judge(answer.error, status, after)

    def __repr__(self) -> str:
        return f"Meta({self.pixel_id!r})"


def _judge(error: _GraphError, status: int, after: float | None) -> Verdict:
    reason = str(error)
    if error.is_transient or error.code in _TRANSIENT or error.code < 0:
        return Retry(reason, after)
    if status >= 500 or status == 429:
        return Retry(f"HTTP {status}: {reason}", after)
    unreachable = error.code == _INVALID_PARAMETER and error.error_subcode == _OBJECT_UNREACHABLE
    if unreachable or error.code in _REFUSES_US or 200 <= error.code < 300:
        return Paused(reason)
    if error.code == _INVALID_PARAMETER and status == 400:
        return Rejected(reason)
    # What we do not know is no verdict on an event: nothing is buried for it.
    return Paused(reason) if status in (401, 403, 404) else Retry(reason, after)


def _read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return ``Retry-After`` in seconds, at most an hour; dates are not used by Meta."""
    value = headers.get("retry-after", "")
    if not (value.isascii() and value.isdigit() and len(value) < 9):
        return None
    return min(float(value), MAX_RETRY_AFTER)
