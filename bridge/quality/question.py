"""The question to Meta: one GET for a pixel, its answer, or why there is none and what to do."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import httpx
import msgspec

from bridge.delivery.exchange import FAILURES, TIMEOUT, TOTAL_TIMEOUT, fetch, refuse_cookies
from bridge.destinations.graph import Refusal
from bridge.destinations.meta import Meta
from bridge.quality.answer import FIELDS, PLAIN_FIELDS, EventQuality, parse_answer

MAX_ANSWER = 4 * 1024 * 1024  # bytes; a name's block has about 6 kB
INVALID_PARAMETER = 100  # Graph's code, also for a field that does not exist

_RIGHTS = (
    "in Business Settings give the token's system user Partial access → Use events dataset, and the"
    " app ads_read with ads_management or business_management; a token made in Events Manager"
    " before July 2025 needs the opt-in to the Dataset Quality API there, once"
)
_REMEDIES = {
    "permission": _RIGHTS,
    "account": f"check BRIDGE_PIXEL_ID, and that the token may read this dataset: {_RIGHTS}",
    "fields": "Meta no longer knows what is asked for: update pixel-bridge, or set"
    " BRIDGE_API_VERSION to the version it was made for",
    "version": "set BRIDGE_API_VERSION to a version that Meta still serves",
    "limit": "Meta's rate limit is reached: ask again in an hour",
}


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Meta's own figures on one dataset.

    Attributes:
        events: By event name; empty for a dataset without figures yet.
        is_plain: Whether only the plain fields were answered, as of an older dataset.
    """

    events: tuple[EventQuality, ...]
    is_plain: bool = False


class Unanswered(msgspec.Struct, frozen=True, kw_only=True):
    """Why Meta's figures are not known.

    Attributes:
        kind: ``token``, ``permission``, ``account``, ``fields``, ``version``, ``limit`` …;
            ``unreachable`` if nobody answered, ``answer`` if what was answered cannot be read.
        reason: What happened, Meta's words included, without the token.
        remedy: What to do.
    """

    kind: str
    reason: str
    remedy: str

    @property
    def is_refusal(self) -> bool:
        """Whether Meta refused: asking again changes nothing until somebody acts."""
        return self.kind in ("token", "permission", "account", "fields", "version")


async def ask_all(pixels: list[Meta]) -> dict[str, Quality | Unanswered]:
    """Return Meta's figures on each pixel, by the destination's name; never raises."""
    certificates = await asyncio.to_thread(httpx.create_ssl_context)
    async with httpx.AsyncClient(
        timeout=TIMEOUT, follow_redirects=False, verify=certificates, cookies=refuse_cookies()
    ) as client:
        answers = await asyncio.gather(*(ask(client, each) for each in pixels))
    return dict(zip([each.name for each in pixels], answers, strict=True))


async def ask(client: httpx.AsyncClient, pixel: Meta) -> Quality | Unanswered:
    """Return Meta's figures on one pixel; of fewer fields if Meta does not know all of them."""
    answer = await _ask_for(client, pixel, FIELDS)
    if _is_of_fields(answer):
        answer = await _ask_for(client, pixel, PLAIN_FIELDS)
        if isinstance(answer, Quality):
            return Quality(events=answer.events, is_plain=True)
    if isinstance(answer, Refusal):
        return explain_refusal(answer, pixel)
    return answer


def explain_refusal(refusal: Refusal, pixel: Meta) -> Unanswered:
    """Return why Graph did not answer a question about ``pixel``, and what to do."""
    kind = "fields" if _is_of_fields(refusal) else refusal.kind
    remedy = pixel.token_remedy if kind == "token" else _REMEDIES.get(kind, "ask again later")
    return Unanswered(kind=kind, reason=refusal.reason, remedy=remedy)


def _is_of_fields(answer: Quality | Unanswered | Refusal) -> bool:
    """Return whether Graph refused what was asked for, and not who asks or for which dataset."""
    if not isinstance(answer, Refusal):
        return False
    return answer.code == INVALID_PARAMETER and answer.kind != "account"


async def _ask_for(
    client: httpx.AsyncClient, pixel: Meta, fields: str
) -> Quality | Unanswered | Refusal:
    request = pixel.build_quality_request(fields)
    try:
        async with asyncio.timeout(TOTAL_TIMEOUT):
            status, _, content = await fetch(client, request, max_bytes=MAX_ANSWER)
    except FAILURES as error:
        return Unanswered(
            kind="unreachable",
            reason=f"no answer from {urlsplit(request.url).hostname}: {_describe(error)}",
            remedy="check the network and BRIDGE_GRAPH_URL",
        )
    refusal = pixel.read_refusal(status, content)
    if refusal is not None:
        return refusal
    events = parse_answer(content) if status == 200 else None
    if events is None:
        return Unanswered(
            kind="answer",
            reason=f"HTTP {status}, and {len(content):,} bytes that are not all of Meta's JSON",
            remedy="something between here and Meta cuts or changes its answers: ask again",
        )
    return Quality(events=events)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
