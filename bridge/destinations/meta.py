"""Meta's Conversions API: events as a Graph request.

The token is in the JSON body, never in a URL, which proxies and logs would keep.

Source: Meta, "Using the API" and "Main Body Parameters", read 2026-11-23.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import msgspec
from starlette.datastructures import Secret

from bridge.destinations.base import (
    Accepted,
    Check,
    Destination,
    EncodingContext,
    Limits,
    Paused,
    Request,
    Verdict,
)
from bridge.destinations.graph import ADVICE, MAX_REASON, Refusal, read_answer, read_refusal
from bridge.destinations.http import check_base_url, clean_words, describe, mask
from bridge.errors import ConfigError, UsageError
from bridge.events.event import Event, UserData
from bridge.events.normalizers import hash_external_id
from bridge.randomness import new_uuid

GRAPH_URL = "https://graph.facebook.com"
API_VERSION = "v26.0"
CHECK_EVENT = "PixelBridgeCheck"

logger = logging.getLogger("bridge.destinations")

MAX_TOKENS = 5  # earlier ones that are still kept out of words

_TIME = re.compile(rb'"event_time":([0-9]{1,12})[,}]')
_CODE = re.compile(rb"[A-Za-z0-9_-]{1,40}(?=\{)")  # a test event code before its event


def _clean_token(token: object) -> str:
    """Return the text of a token; raise ``ConfigError`` if it is none."""
    if not isinstance(token, str | Secret | None):
        raise ConfigError(f"access_token must be text, got {type(token).__name__}")
    return "" if token is None else str(token).strip("\ufeff \t\r\n")


def _advise_of_token(find: Callable[[], object] | None) -> str:
    """Return what to do about a token that is refused: where ``find`` gets it from."""
    if find is None:
        return ADVICE["token"]
    file = getattr(find, "__self__", None)
    place = file if isinstance(file, Path) else "the place that access_token= reads"
    return f"make a new access token in Events Manager, and write it to {place}"


class Meta(Destination):
    """One pixel's Conversions API.

    Args:
        pixel_id: The pixel or dataset id, digits.
        access_token: From Events Manager; kept out of URLs, logs and ``repr``. Or a function that
            returns it, such as ``Path("/run/secrets/meta").read_text``: it is asked before every
            request, in a thread, so that a token can be replaced while the app runs. If it fails
            then, the last token is used.
        graph_url: Base address of the Graph API.
        api_version: Graph version, such as ``v26.0``.
        test_event_code: Shows the events under "Test events"; they still count.
        partner_agent: Platform id, for platforms that send for others.

    Raises:
        ConfigError: A value is unusable; the message says which and why.
    """

    # "You can send up to 1,000 events in data." Meta publishes no limit of bytes, and nothing about
    # compressed requests.
    limits = Limits(batch_size=1000)
    reaches_meta = True

    def __init__(
        self,
        pixel_id: str | int,
        access_token: str | Secret | Callable[[], str | Secret] | None,
        *,
        graph_url: str = GRAPH_URL,
        api_version: str = API_VERSION,
        test_event_code: str | None = None,
        partner_agent: str | None = None,
    ) -> None:
        self.pixel_id = str(pixel_id)
        if not re.fullmatch(r"[0-9]{1,20}", self.pixel_id):
            raise ConfigError(f"pixel_id must be digits, got {describe(self.pixel_id)}")
        self._find_token = access_token if callable(access_token) else None
        try:
            token = _clean_token(access_token() if callable(access_token) else access_token)
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"access_token cannot be read: {error}") from error
        if not token:
            raise ConfigError("access_token is empty; make one in Events Manager, pixel settings")
        check_base_url(graph_url, "graph_url", f"like {GRAPH_URL}")
        if not re.fullmatch(r"v[0-9]{1,3}\.[0-9]", api_version):
            raise ConfigError(
                f"api_version must be like {API_VERSION}, got {describe(api_version)}"
            )
        self.name = f"meta:{self.pixel_id}"
        self.is_renewable = self._find_token is not None
        self.token_remedy = _advise_of_token(self._find_token)
        self._access_token = token
        self._tokens_before: tuple[str, ...] = ()
        self._has_failed = False  # to renew it, which was logged
        base = f"{graph_url.rstrip('/')}/{api_version}"
        self._url = f"{base}/{self.pixel_id}/events"
        self._quality_url = f"{base}/dataset_quality"
        self._parameters: dict[str, str] = {}
        if test_event_code:
            self._parameters["test_event_code"] = test_event_code
        if partner_agent:
            self._parameters["partner_agent"] = partner_agent
        self._tail = self._build_tail()

    def _build_tail(self, **parameters: str) -> bytes:
        """Return what follows the events in a request's body."""
        given = {"access_token": self._access_token, **self._parameters, **parameters}
        return b"]," + msgspec.json.encode(given)[1:]

    def renew(self) -> bool:
        """Ask the app's function for the token, if there is one; return whether it is a new one."""
        if self._find_token is None:
            return False
        try:
            token = _clean_token(self._find_token())
        except Exception as error:  # noqa: BLE001 - the app's own code
            # Or a file that is just being replaced: there will be a next time.
            if not self._has_failed:
                self._has_failed = True
                words = clean_words(str(error), MAX_REASON, secret=self._access_token)
                logger.warning("%s: the access token cannot be read again: %s", self.name, words)
            return False
        self._has_failed = False
        if not token or token == self._access_token:
            return False
        self._tokens_before = (self._access_token, *self._tokens_before)[:MAX_TOKENS]
        self._access_token = token
        self._tail = self._build_tail()
        return True

    def encode(self, event: Event, context: EncodingContext | None = None) -> bytes:
        """Return ``event`` as one object of ``data``; its own test event code stands before it.

        The code is a parameter of the whole request.

        Raises:
            UsageError: The code is not one of Events Manager.
        """
        code = context and context.test_event_code
        if not code:
            return event.encoded
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", code):
            raise UsageError(f"test_event_code must be like TEST12345, got {describe(code)}")
        return code.encode() + event.encoded

    def group(self, body: bytes) -> bytes:
        """Return the event's own test event code, or nothing."""
        found = None if body[:1] == b"{" else _CODE.match(body)
        return found[0] if found else b""

    def read_time(self, body: bytes) -> float | None:
        """Return ``event_time``."""
        found = _TIME.search(body)
        return float(found[1]) if found else None

    def build_request(self, bodies: Sequence[bytes], now: float = 0.0) -> Request:
        """Return the POST that carries ``bodies``, at most 1000 of one group."""
        tail = self._tail
        if bodies and (code := self.group(bodies[0])):
            bodies = [body.removeprefix(code) for body in bodies]
            tail = self._build_tail(test_event_code=code.decode())
        return Request(
            url=self._url,
            content=b'{"data":[' + b",".join(bodies) + tail,
            headers={"content-type": "application/json"},
        )

    def read_response(self, status: int, headers: Mapping[str, str], content: bytes) -> Verdict:
        """Return what Meta's answer means for the whole request."""
        verdict = read_answer(status, headers, content, secret=self._access_token)
        if isinstance(verdict, Paused) and verdict.fault == "token":
            verdict = replace(verdict, advice=self.token_remedy)
        if isinstance(verdict, Accepted) or not self._tokens_before:
            return verdict
        return replace(verdict, reason=self._mask_before(verdict.reason))

    def _mask_before(self, words: str) -> str:
        """Return ``words`` without earlier tokens: an answer may quote what was sent with one."""
        for token in self._tokens_before:
            words = mask(words, token)
        return words

    def build_quality_request(self, fields: str) -> Request:
        """Return the GET of Meta's own figures on this dataset; its token is in a header."""
        query = urlencode({"dataset_id": self.pixel_id, "fields": fields})
        return Request(
            url=f"{self._quality_url}?{query}",
            content=b"",
            headers={"authorization": f"Bearer {self._access_token}"},
            method="GET",
        )

    def read_refusal(self, status: int, content: bytes) -> Refusal | None:
        """Return why Graph does not answer a question; ``None`` if it does."""
        refusal = read_refusal(status, content, secret=self._access_token)
        if refusal is None:
            return None
        return refusal._replace(reason=self._mask_before(refusal.reason))

    def build_check(self, now: float, test_event_code: str | None) -> Check:
        """Return a request with one test event, if there is a test event code."""
        if not test_event_code:
            return Check(
                skipped="not asked; give --test-event-code, from Events Manager, Test events"
            )
        event = Event(
            event_name=CHECK_EVENT,
            event_time=int(now),
            event_id=new_uuid(),
            action_source="system_generated",
            user_data=UserData(external_id=[hash_external_id(new_uuid())]),
        )
        content = b'{"data":[' + event.encoded + self._build_tail(test_event_code=test_event_code)
        return Check(
            request=replace(self.build_request([]), content=content),
            passed=f'took the test event {CHECK_EVENT}; see it under "Test events"',
        )

    def __repr__(self) -> str:
        return f"Meta({self.pixel_id!r})"
