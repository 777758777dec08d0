"""A refusal: why Meta turns a whole request down, and the answer that says so.

Source: Meta, "Graph API: Handling Errors" and "Marketing API Error Codes", read 2026-11-23. Meta
publishes no list of the Conversions API's subcodes; the ones here were collected from real answers.
"""

from __future__ import annotations

from typing import Any

import msgspec

TITLES = {
    33: "Object not found",
    2804003: "Event timestamp too old",
    2804004: "Event timestamp in the future",
    2804008: "Missing content id",
    2804009: "Missing value for Purchase event",
    2804016: "Customer information not hashed",
    2804023: "Missing currency",
    2804036: "Invalid lead id",
    2804043: "Blank OS version in extinfo",
    2804050: "Not enough customer information parameters",
    2804066: "Event name not allowed for business messaging",
    2804069: "Missing page id",
    2804079: "Missing Instagram account id",
    2804087: "Invalid click-to-WhatsApp click id",
    2804116: "Missing page id or WhatsApp business account id",
}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request is turned down.

    Attributes:
        status: HTTP status of the answer.
        code: Meta's error code; 100 is "invalid parameter", 190 "token bad or expired".
        subcode: Meta's error subcode, or ``None`` if the answer carries none.
        type: Meta's error type, such as ``"OAuthException"``.
        message: For developers; also put into ``error_user_msg``, in English.
        field: Path of the bad field, such as ``"data[0][user_data][em]"``; ``""`` if there is none.
    """

    status: int = 400
    code: int = 100
    subcode: int | None = None
    type: str = "OAuthException"
    message: str
    field: str = ""

    def to_json(self, trace_id: str) -> dict[str, Any]:
        """Return the answer's body, an object with the single key ``error``."""
        error: dict[str, Any] = {
            "message": f"(#{self.code}) {self.message}" if self.subcode is None else self.message,
            "type": self.type,
            "code": self.code,
        }
        if self.subcode is not None:
            error["message"] = "Invalid parameter" if self.subcode != 33 else self.message
            error["error_subcode"] = self.subcode
            error["error_user_title"] = TITLES.get(self.subcode, "Invalid parameter")
            error["error_user_msg"] = self.message
        elif self.code == 100:
            error["error_user_title"] = "Invalid parameter"
            error["error_user_msg"] = self.message
        error["is_transient"] = False
        if self.field:
            error["error_data"] = {"blame_field_specs": [[self.field]]}
        error["fbtrace_id"] = trace_id
        return {"error": error}


def refuse(at: str, key: str, what: str, *, subcode: int | None = None) -> Refusal:
    """Return the refusal of the parameter ``key`` of the object at ``at``."""
    field = f"{at}[{key}]"
    return Refusal(subcode=subcode, message=f"Param {field} {what}", field=field)


Finding = Refusal | str
"""What a rule finds: a refusal, or the text of a warning that Meta would accept."""
