"""Segment's tracking API: events as messages of ``/v1/batch``.

Segment answers 200 to nearly everything, even to what it drops: a request of more than 2500
messages, a message over 32 KB, a message id it has seen. So the limits are kept here, and each
message id is derived from what makes a delivery unique: a request sent again after a lost answer is
dropped there, and no other customer's messages can have the same ids.

Source: Segment, "HTTP API" and "Product limits", read 2026-11-25; sizes as in its own Python
library, segmentio/analytics-python 2.3.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
from starlette.datastructures import Secret

from bridge.destinations.base import (
    Accepted,
    Check,
    Destination,
    EncodingContext,
    IdentityMessage,
    Limits,
    Paused,
    Rejected,
    Request,
    Retry,
    Verdict,
)
from bridge.destinations.http import check_base_url, clean_words, describe, mask, read_retry_after
from bridge.destinations.messages import (
    META_INTEGRATIONS,
    DataUse,
    build_alias,
    build_data_use,
    build_identify,
    build_message,
    encode_message,
    format_time,
    read_data_use,
    read_timestamp,
)
from bridge.errors import ConfigError, InvalidEventError
from bridge.events.event import Event
from bridge.events.properties import copy_plain
from bridge.visitor.identity import Identity

REGIONS = {
    "us": "https://api.segment.io",
    "eu": "https://events.eu1.segmentapis.com",
}
MAX_REASON = 300  # characters of an answer that are shown

_WRITE_KEY = re.compile(r"[!-9;-~]{1,200}")  # no colon: the key is the user of Basic auth
_RETRIED = frozenset({408, 410, 425, 429, 460})


class Segment(Destination):
    """One source's HTTP tracking API.

    Args:
        write_key: Of the source; kept out of URLs, logs and ``repr``.
        region: Where the workspace lives: ``us`` or ``eu``.
        url: Base address of the API, if not the region's: a proxy's, or the sandbox's.
        pixel_id: The pixel that Segment's Meta destination sends to: the script fires its browser
            copies. Leave it out if the page's own pixel does that, or if there is no pixel.
        integrations: Further switches for every message, such as ``{"Amplitude": False}``.
        alias: Whether a login sends ``alias`` as well as ``identify``.
        maps_limits: Whether Segment's destination for Meta is set up to read Limited Data Use from
            ``context.dataProcessingOptions``. It is not by default; then the events of visitors
            with limited consent stop at Segment.

    Raises:
        ConfigError: A value is unusable; the message says which and why.
    """

    limits = Limits(
        batch_size=2500,  # with more the answer is 200, and all of them are dropped
        max_content=475_000,  # 500 KB are allowed
        accepts_gzip=True,
    )

    def __init__(
        self,
        write_key: str | Secret | None,
        *,
        region: str = "us",
        url: str | None = None,
        pixel_id: str | int | None = None,
        integrations: Mapping[str, Any] | None = None,
        alias: bool = True,
        maps_limits: bool = False,
    ) -> None:
        key = "" if write_key is None else str(write_key).strip()
        if not _WRITE_KEY.fullmatch(key):
            raise ConfigError("write_key is empty or malformed; see the source's settings")
        if region.lower() not in REGIONS:
            raise ConfigError(
                f"region must be us or eu, got {describe(region)}; an address goes in url"
            )
        base = REGIONS[region.lower()] if url is None else url
        check_base_url(base, "url", f"like {REGIONS['us']}")
        self.pixel_id = None if pixel_id is None else str(pixel_id)
        if self.pixel_id is not None and not re.fullmatch(r"[0-9]{1,20}", self.pixel_id):
            raise ConfigError(f"pixel_id must be digits, got {describe(self.pixel_id)}")
        digest = hashlib.sha256(f"pixel-bridge {key}".encode()).digest()
        self.name = f"segment:{digest.hex()[:8]}"
        self._namespace = uuid.UUID(bytes=digest[:16])
        self._write_key = key
        self._url = f"{base.rstrip('/').removesuffix('/v1')}/v1/batch"
        self._integrations = _read_switches(integrations)
        self._alias = alias
        self._maps_limits = maps_limits
        self._basic = base64.b64encode(f"{key}:".encode()).decode()

    def derive_message_id(self, kind: str, event_id: str) -> str:
        """Return a delivery's message id: the same each time it is sent, and nobody else's."""
        return str(uuid.uuid5(self._namespace, f"{kind}\n{event_id}"))

    def encode(self, event: Event, context: EncodingContext) -> bytes:
        """Return ``event`` as a track message, or a PageView as a page message.

        Raises:
            InvalidEventError: It is larger than Segment takes.
        """
        return encode_message(self.build(event, context))

    def build(self, event: Event, context: EncodingContext) -> dict[str, Any]:
        """Return ``event`` as the message that ``encode`` encodes, whatever its size."""
        name, properties = context.translate(event)
        # A browser may report any id, and Segment would drop the server's message of the same one.
        kind = f"{event.event_name}\nbrowser" if context.from_browser else event.event_name
        message_id = self.derive_message_id(kind, event.event_id)
        message = build_message(event, name, properties, context.identity, message_id)
        if integrations := self._build_integrations(event, context):
            message["integrations"] = integrations
        return message

    def _build_integrations(self, event: Event, context: EncodingContext) -> dict[str, Any]:
        """Return which of Segment's destinations get the message.

        Its Meta destinations do not, if we send the event to Meta ourselves.
        """
        if context.reaches_meta:
            return {**dict.fromkeys(META_INTEGRATIONS, False), **self._integrations}
        return self.build_switches(read_data_use(event))

    def build_switches(self, data_use: DataUse | None) -> dict[str, Any]:
        """Return ``integrations`` of a message that reaches Meta through Segment."""
        limits = build_data_use(data_use, is_mapped=self._maps_limits)
        return {**limits, **self._integrations}

    def encode_identity(
        self, known: Identity, before: Identity, now: float
    ) -> Sequence[IdentityMessage]:
        """Return an identify message, and an alias if an anonymous visitor logged in."""
        content = msgspec.json.encode([known.anonymous_id, known.user_id, known.user_data])
        message_id = self.derive_message_id("$identify", hashlib.sha256(content).hexdigest())
        messages = [build_identify(known, known.user_data, message_id, now)]
        if self._alias and known.user_id and not before.user_id:
            joined = f"{known.anonymous_id}\n{known.user_id}"
            messages.append(build_alias(known, self.derive_message_id("$alias", joined), now))
        switches = {"integrations": self._integrations} if self._integrations else {}
        return [
            IdentityMessage(each["type"], each["messageId"], msgspec.json.encode(each | switches))
            for each in messages
        ]

    def read_time(self, body: bytes) -> float | None:
        """Return the message's ``timestamp``."""
        return read_timestamp(body)

    def build_request(self, bodies: Sequence[bytes], now: float) -> Request:
        """Return the POST that carries ``bodies``, at most 2500.

        ``sentAt`` is when it leaves: Segment corrects clocks by it.
        """
        head = {"sentAt": format_time(now), "context": {"library": _LIBRARY}}
        return Request(
            url=self._url,
            content=msgspec.json.encode(head)[:-1] + b',"batch":[' + b",".join(bodies) + b"]}",
            headers={"content-type": "application/json", "authorization": f"Basic {self._basic}"},
        )

    def read_response(self, status: int, headers: Mapping[str, str], content: bytes) -> Verdict:
        """Return what Segment's answer means for the whole request; never raises.

        Source: Segment, "HTTP API", Errors and Rate limits; what is tried again, and that any 2xx
        is success: segmentio/analytics-next, Node. A redirect is not: nobody followed it.
        """
        text = mask(content[:4096].decode("utf-8", "replace"), self._basic)
        words = clean_words(text, MAX_REASON, secret=self._write_key)
        reason = f"HTTP {status}: {words}" if words else f"HTTP {status}"
        if 200 <= status < 300:
            return Accepted()
        if status in _RETRIED or status >= 500:
            return Retry(reason, read_retry_after(headers, "x-ratelimit-reset"))
        if status in (401, 403) or "write key" in words.lower() or "writekey" in words.lower():
            return Paused(reason, "token", "check BRIDGE_SEGMENT_WRITE_KEY and the region")
        if status in (400, 413):
            return Rejected(reason)
        if status == 404:
            return Paused(reason, "account", "check BRIDGE_SEGMENT_URL")
        return Retry(reason) if status < 400 else Paused(reason, "unknown")

    def build_check(self, now: float, test_event_code: str | None) -> Check:
        """Return an empty batch, which Segment accepts or rejects without a message."""
        return Check(
            request=self.build_request([], now),
            passed="answers; it takes any key, so look for events in the source's debugger",
            allows_rejected=True,
        )

    def __repr__(self) -> str:
        return f"Segment({self.name!r})"


def _read_switches(integrations: object) -> dict[str, Any]:
    try:
        return copy_plain({} if integrations is None else integrations, "integrations")
    except InvalidEventError as error:
        raise ConfigError(f'integrations must be like {{"Amplitude": False}}: {error}') from None


def _read_version() -> str:
    try:
        return version("pixel-bridge")
    except PackageNotFoundError:
        return "0"  # run from a copy that was never installed


_LIBRARY = {"name": "pixel-bridge", "version": _read_version()}
