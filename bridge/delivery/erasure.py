"""Erasure: a person, as an app names one, as the subjects by which the outbox finds deliveries."""

from __future__ import annotations

from bridge.errors import InvalidEventError
from bridge.events.normalizers import hash_external_id
from bridge.events.user_data import read_user_data


def find_people(
    *, user_id: str | int | None = None, external_id: str | None = None, email: str | None = None
) -> list[str]:
    """Return the hashes of a person, for ``build_subjects``.

    Args:
        user_id: As given to ``identify``.
        external_id: Raw or hashed.
        email: An address; normalised and hashed as in an event.

    Raises:
        InvalidEventError: None of them is given, or ``email`` is no address.
    """
    ids = [str(each).strip() for each in (user_id, external_id) if each is not None]
    hashes = [hash_external_id(each) for each in ids if each]
    if email is not None:
        found = read_user_data({"email": email}, on_dropped=_drop).get("em", [])
        if not found:
            raise InvalidEventError("email", "expected an e-mail address or its SHA-256")
        hashes += found
    if not hashes:
        raise InvalidEventError("user_id", "expected user_id, external_id or email, got none")
    return hashes


def _drop(*dropped: object) -> None:
    """Log nothing: the caller is told."""
