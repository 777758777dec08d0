"""The tripwire: takes people's data out of an event's custom data before anything keeps it.

Custom data reaches Meta and Segment in the clear, and shops put whole customers and addresses into
it. It is searched at every depth: by key (``personal_keys``) and by value (``personal_values``).
What is found is removed as a whole: a text of which a part is an e-mail
address has no harmless rest. Its path is reported, its value never.

- Hashed or not: a key of people's data goes with a digest too. ``user_data`` is where Meta takes
  hashes, and a digest of an e-mail address names its owner wherever it is.
- ``True``, ``None`` and empty values reveal nothing about anyone and stay: ``email: True``.
- An object under such a key (``address``) goes whole, unless the allow-list leads into it.
- Never touched, whatever they look like: texts and numbers under ``content_ids``, ``order_id``,
  ``product_id``, ``sku``, ``variant``, ``item_number``, ``currency``, ``fbp``, ``fbc``, and the
  ``id`` of a product. Under other ids (``event_id``, ``external_id``, ``user_id``), dates and
  prices only what no number looks like counts: an e-mail address, a token, ``+49…``.
- An object in which such a key was found is a person's: beside an e-mail address, a name is one.
- A text that is JSON is judged as what it holds, and goes whole.
- In the address of a page, a parameter of people's data counts (``?token=…``, ``?first_name=…``).
  Not ``bridge.events.urls``' longer list: ``code`` and ``state`` are secrets on a sign-in page, and
  coupons and places in a shop's own links.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import msgspec

from bridge.errors import ConfigError
from bridge.events.personal_keys import (
    ABOUT,
    KEPT,
    NOTHING,
    NUMBERS,
    NUMERIC,
    PERSON,
    Verdict,
    judge_key,
    split_words,
)
from bridge.events.personal_values import (
    MIN_CARD,
    MIN_LENGTH,
    Kind,
    decode_text,
    find_shape,
    is_card,
)

MAX_FOUND = 20  # paths returned; what is removed has no limit
CACHE_SIZE = 2048  # keys of at most 64 characters whose verdict is kept
MAX_NESTED = 8  # levels of objects and lists in a text that is JSON

_SEGMENT = re.compile(r"([^\s.\[\]]{1,100})((?:\[\])*)")
# A key as programmers choose it; any other may be data itself, a name or a number.
_CHOSEN = re.compile(r"(?!.*\d{6})[A-Za-z_$][\w$-]{0,63}", re.ASCII)
_PARAMETER = re.compile(r"[?&#;]([^=?&#;\s]{1,64}+)=([^&#;\s]{1,200}+)")
MAX_PARAMETERS = 200  # of one text

_At = tuple["_At", str | int] | None  # the path so far, the last step outside
_Steps = tuple[str | None, ...]  # keys as they are compared, ``None`` for an item of a list


def _build_json_type(depth: int) -> Any:
    scalar = str | int | float | bool | None
    if depth == 0:
        return scalar
    inner = _build_json_type(depth - 1)
    return scalar | list[inner] | dict[str, inner]  # type: ignore[valid-type]


_read_json = msgspec.json.Decoder(_build_json_type(MAX_NESTED)).decode


class Found(NamedTuple):
    """Something that was removed.

    Attributes:
        path: Where it was: ``customer.email``, ``contents[2].note``. Keys that could be personal
            themselves are written as ``<key>``, or by what they are: ``<email>``.
        kind: What it is; ``"key"`` if its key says so.
    """

    path: str
    kind: Kind


class Tripwire:
    """Finds and removes people's data in the custom data of events.

    Args:
        allow: Keys and paths that the app declares harmless; nothing at or below them is
            examined. A key alone (``"gender"``) counts wherever it is, a path (``"traveler.city"``,
            ``"products[].note"``) from the top of the properties: keys parted by dots, ``[]``
            behind the key of a list, for any of its items. Spelling does not matter: ``first_name``
            is ``firstName``. A key that holds a dot, a bracket or a space cannot be named.

    Raises:
        ConfigError: An entry is neither a key nor a path.
    """

    def __init__(self, allow: str | Iterable[str] = ()) -> None:
        entries: object = [allow] if isinstance(allow, str) else allow
        if not isinstance(entries, Iterable) or isinstance(entries, Mapping | bytes):
            raise ConfigError(f"allow: expected keys and paths, got {type(allow).__name__}")
        paths = [_parse_path(entry) for entry in entries]
        self._allowed_keys = frozenset(path[0] for path in paths if len(path) == 1)
        self._allowed_paths = frozenset(path for path in paths if len(path) > 1)
        self._verdicts: dict[int, dict[str, Verdict]] = {about: {} for about in ABOUT}

    def clean(self, properties: dict[str, Any]) -> list[Found]:
        """Remove people's data from ``properties``, in place; return the first 20 that were there.

        They are plain JSON, nested no deeper than ``properties.copy_plain`` lets them.
        """
        found: list[Found] = []
        self._clean_object(properties, None, NOTHING, found)
        return found

    def _clean_object(self, node: dict[str, Any], at: _At, about: int, found: list[Found]) -> None:
        verdicts = self._verdicts[about]
        gone = []
        is_person = False
        for key, value in node.items():
            try:
                verdict = verdicts[key]
            except KeyError:
                if (hit := find_shape(key)) and self._report(hit, (at, key), found):
                    gone.append(key)
                    continue
                verdict = self._judge_key(key, about)
            kind = type(value)
            # What applies to nearly all values comes first and costs no call.
            if kind is str:
                if verdict is KEPT or (
                    (len(value) < MIN_LENGTH or value.isalpha())
                    and (
                        not verdict.personal
                        or (verdict.of_words and value.isascii() and " " not in value)
                    )
                ):
                    continue
                hit = (
                    find_shape(value, verdict.expected)
                    if verdict.is_simple and "=" not in value and value[0] not in "[{"
                    else self._judge_text(value, verdict)
                )
            elif kind is int or kind is float:
                if verdict is NUMERIC or (not verdict.personal and value < MIN_CARD):
                    continue
                hit = _judge_number(value, verdict)
            elif kind is list or kind is dict:
                hit = None
                if verdict.personal and verdict.opens is None and _is_given(value, verdict):
                    if self._leads_into((at, key)):
                        self._clean_private(value, (at, key), found)
                    else:
                        hit = "key"
                else:
                    inside = about if verdict.opens is None else verdict.opens
                    if kind is list:
                        self._clean_list(value, (at, key), verdict, inside, found)
                    else:
                        self._clean_object(value, (at, key), inside, found)
            else:
                continue
            if hit and self._report(hit, (at, key), found):
                gone.append(key)
                is_person = is_person or hit == "key"
        for key in gone:
            del node[key]
        if is_person and about == NOTHING and at is not None:
            self._clean_object(node, at, PERSON, found)

    def _clean_list(
        self, items: list[Any], at: _At, verdict: Verdict, about: int, found: list[Found]
    ) -> None:
        gone = []
        for i, item in enumerate(items):
            kind = type(item)
            if kind is dict:
                self._clean_object(item, (at, i), about, found)
                continue
            if verdict is KEPT and kind is not list:
                continue
            hit = None
            if kind is str:
                if not verdict.personal and (len(item) < MIN_LENGTH or item.isalpha()):
                    continue
                hit = self._judge_text(item, verdict)
            elif kind is int or kind is float:
                hit = _judge_number(item, verdict)
            elif kind is list:
                self._clean_list(item, (at, i), verdict, about, found)
            if hit and self._report(hit, (at, i), found):
                gone.append(i)
        for i in reversed(gone):
            del items[i]

    def _judge_key(self, key: str, about: int) -> Verdict:
        """Return what ``key`` says, and cache it unless the key may be data itself."""
        verdict = judge_key(key, about)
        if _CHOSEN.fullmatch(key):
            verdicts = self._verdicts[about]
            if len(verdicts) >= CACHE_SIZE:
                verdicts.clear()
            verdicts[key] = verdict
        return verdict

    def _clean_private(self, node: Any, at: _At, found: list[Found]) -> None:
        """Remove everything from the object or list ``node`` but what the allow-list names."""
        gone = []
        for step, value in node.items() if isinstance(node, dict) else enumerate(node):
            inside = (at, step)
            if isinstance(value, dict | list) and self._leads_into(inside):
                self._clean_private(value, inside, found)
            elif self._report("key", inside, found):
                gone.append(step)
        for step in reversed(gone):
            del node[step]

    def _judge_text(self, text: str, verdict: Verdict) -> Kind | None:
        if verdict.personal and verdict.holds(text):
            return "key"
        hit = find_shape(text, verdict.expected)
        if hit == "phone" and verdict.is_public:
            return None
        if hit is None and text[:1] in ("[", "{"):
            hit = self._judge_json(text)
        return self._find_parameter(text, verdict.of_url) if hit is None and "=" in text else hit

    def _judge_json(self, text: str) -> Kind | None:
        """Return what a text that is JSON holds, if it is one."""
        try:
            value = _read_json(text)
        except (msgspec.DecodeError, ValueError):
            return None
        if not isinstance(value, dict | list):
            return None
        found: list[Found] = []
        self._clean_object({"json": value}, None, NOTHING, found)
        return found[0].kind if found else None

    def _find_parameter(self, text: str, about: int) -> Kind | None:
        verdicts = self._verdicts[about]
        query = text if "://" in text else f"?{text}"
        for name, value in _PARAMETER.findall(query)[:MAX_PARAMETERS]:
            verdict = verdicts.get(name) or self._judge_key(decode_text(name), about)
            if (
                verdict.personal
                and verdict.holds(unquote_plus(value))
                and _compared(decode_text(name)) not in self._allowed_keys
            ):
                return "key"
        return None

    def _report(self, kind: Kind, at: _At, found: list[Found]) -> bool:
        """Return whether what was found is to be removed, after adding it to ``found``."""
        if self._is_allowed(at):
            return False
        if len(found) < MAX_FOUND:
            found.append(Found(_show(at), kind))
        return True

    def _is_allowed(self, at: _At) -> bool:
        if not self._allowed_keys and not self._allowed_paths:
            return False
        steps = _steps(at)
        return not self._allowed_keys.isdisjoint(steps) or any(
            steps[: len(path)] == path for path in self._allowed_paths
        )

    def _leads_into(self, at: _At) -> bool:
        """Return whether an allowed path goes on below ``at``."""
        if not self._allowed_paths:
            return False
        steps = _steps(at)
        return any(
            len(path) > len(steps) and path[: len(steps)] == steps for path in self._allowed_paths
        )


def _is_given(value: Any, verdict: Verdict) -> bool:
    """Return whether the object or list ``value`` is not empty and what its key means."""
    return bool(value) and (verdict.fits is None or verdict.fits(str(value)))


def _judge_number(number: float, verdict: Verdict) -> Kind | None:
    if verdict.personal:
        return "key" if verdict.numbers and verdict.holds(str(number)) else None
    if verdict.expected < NUMBERS and isinstance(number, int) and is_card(number):
        return "card"
    return None


def _parse_path(text: object) -> _Steps:
    if not isinstance(text, str):
        raise ConfigError(f"allow: expected a key or a path, got {type(text).__name__}")
    steps: list[str | None] = []
    for segment in text.split("."):
        match = _SEGMENT.fullmatch(segment)
        if match is None:
            raise ConfigError(
                f"allow: expected a key or a path such as gender or products[].note, got {text!r}"
            )
        steps += [_compared(match[1]), *[None] * (len(match[2]) // 2)]
    return tuple(steps)


def _compared(key: str) -> str:
    return "".join(split_words(key)) or key.lower()


def _steps(at: _At) -> _Steps:
    steps: list[str | None] = []
    while at is not None:
        at, step = at
        steps.append(None if isinstance(step, int) else _compared(step))
    return tuple(reversed(steps))


def _show(at: _At) -> str:
    shown: list[str] = []
    while at is not None:
        at, step = at
        shown.append(f"[{step}]" if isinstance(step, int) else f".{_show_key(step)}")
    return "".join(reversed(shown)).removeprefix(".")


def _show_key(key: str) -> str:
    if kind := find_shape(key):
        return f"<{kind}>"
    return key if _CHOSEN.fullmatch(key) else "<key>"
