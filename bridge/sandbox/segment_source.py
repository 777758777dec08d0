"""A Segment source: accepts calls, records their messages, and sends them on to Meta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bridge.sandbox.copies import build_server_copy
from bridge.sandbox.graph import judge_params
from bridge.sandbox.ledger import Ledger
from bridge.sandbox.message_log import Delivery
from bridge.sandbox.refusal import Refusal
from bridge.sandbox.segment import parse_call
from bridge.sandbox.segment_actions import build_event, find_losses, is_on
from bridge.sandbox.segment_fields import Declined
from bridge.sandbox.segment_messages import Message, judge_messages, parse_time


class Source:
    """The only source, with its destination for Meta switched on."""

    def __init__(self, write_key: str, pixel_ids: Sequence[str], ledger: Ledger) -> None:
        self._write_key = write_key
        self._pixel_id = pixel_ids[0]
        self._ledger = ledger

    def receive(self, path: str, headers: Mapping[str, str], body: bytes, now: float) -> str | None:
        """Record a call, and return why it is answered with 400; ``None`` for 200."""
        call = parse_call(path, headers, body)
        if isinstance(call, str):
            self._ledger.refuse_message(f"/v1/{path}", call, now)
            return call
        for message in judge_messages(call, self._write_key, now):
            self._receive_message(message, now)
        return None

    def _receive_message(self, message: Message, now: float) -> None:
        delivery = None
        if message.dropped is None:
            if self._ledger.messages.is_repeat(message.content["messageId"], now):
                message = msgspec.structs.replace(message, dropped="duplicate_message_id")
            else:
                delivery = self._deliver(message.content, now)
        self._ledger.add_message(message, delivery, now)

    def _deliver(self, content: dict[str, Any], now: float) -> Delivery:
        if not is_on(content.get("integrations", {})):
            return Delivery(outcome="off")
        event = build_event(content, is_set_up=True)
        if isinstance(event, Declined):
            outcome = "none" if event.code == "no_trigger" else "refused"
            return Delivery(outcome=outcome, reason=f"{event.path}: {event.reason}")
        event["event_time"] = int(parse_time(event["event_time"]) or 0)  # Meta converts it
        verdict = judge_params({"data": [event]}, now)
        outcome, reason = "delivered", None
        if isinstance(verdict, Refusal):
            outcome, reason = "refused_by_meta", verdict.message
        else:
            copy = build_server_copy(self._pixel_id, event, verdict.warnings[0], now, via="Segment")
            self._ledger.add(copy)
        return Delivery(
            outcome=outcome,
            reason=reason,
            event_name=event["event_name"],
            event_id=event.get("event_id"),
            warnings=list(find_losses(content)),
        )
