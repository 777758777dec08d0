"""A page's Content-Security-Policy: whether it lets our script, the pixel and their requests. Pure.

Source: W3C, "Content Security Policy Level 3", 6.7.2 matching of URLs against sources, 8.2 usage of
"'strict-dynamic'"; W3C, "Trusted Types", 4.1 the ``trusted-types`` directive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

Policy = dict[str, list[str]]
"""Directive → its sources, lower-case."""

_SCRIPT_FALLBACKS = ("script-src-elem", "script-src", "default-src")
_FALLBACKS = {"script-src": _SCRIPT_FALLBACKS}
TRUSTED_TYPES = ("bridge", "connect.facebook.net/fbevents")  # our script's, and Meta's library's


def parse_policies(texts: Iterable[str]) -> list[Policy]:
    """Return each policy in headers or ``meta`` elements; a header may hold several."""
    policies = []
    for text in texts:
        for part in text.split(","):
            policy: Policy = {}
            for directive in part.split(";"):
                name, *sources = directive.split()[:200] or [""]
                if name:
                    policy.setdefault(name.lower(), sources)
            if policy:
                policies.append(policy)
    return policies


def find_missing(
    policies: Sequence[Policy],
    needed: Mapping[str, Sequence[str]],
    page_url: str,
    *,
    nonce: str | None,
) -> dict[str, list[str]]:
    """Return by directive which of the ``needed`` sources a policy does not allow.

    Args:
        policies: All that hold for the page; each must allow everything.
        needed: As ``Bridge.csp_directives()`` returns it.
        page_url: Where the page is, which is what ``'self'`` means.
        nonce: Of our script's tag.
    """
    missing: dict[str, list[str]] = {}
    for policy in policies:
        for directive, sources in needed.items():
            given = _find_sources(policy, directive)
            if given is None or (directive == "script-src" and is_dynamic(given)):
                continue
            # By its nonce our own script runs, but not what it loads.
            has_nonce = directive == "script-src" and _has_nonce(given, nonce)
            for source in sources:
                if has_nonce and source in needed.get("connect-src", ()):
                    continue
                wanted = _origin(page_url) if source == "'self'" else source
                if not any(_allows(each, wanted, page_url) for each in given):
                    missing.setdefault(directive, []).append(source)
    return {name: list(dict.fromkeys(sources)) for name, sources in missing.items()}


def distrusts_tag(policies: Iterable[Policy], nonce: str | None, integrity: str = "") -> bool:
    """Return whether a policy with ``'strict-dynamic'``, which ignores hosts, blocks our tag.

    It runs by its nonce, or if the policy lists each hash of its ``integrity``.
    """
    hashes = [f"'{each}'" for each in integrity.split()]
    for policy in policies:
        given = _find_sources(policy, "script-src")
        if given is None or not is_dynamic(given) or _has_nonce(given, nonce):
            continue
        if not hashes or not set(hashes) <= set(given):
            return True
    return False


def find_missing_types(policies: Iterable[Policy]) -> list[str]:
    """Return the names of Trusted Types policies that are needed, and that a policy forbids."""
    return [
        name
        for name in TRUSTED_TYPES
        if any(
            name not in policy["trusted-types"] and "*" not in policy["trusted-types"]
            for policy in policies
            if "trusted-types" in policy
        )
    ]


def is_dynamic(given: Iterable[str]) -> bool:
    """Return whether these sources hold ``'strict-dynamic'``, with which hosts do nothing."""
    return any(each.lower() == "'strict-dynamic'" for each in given)


def _find_sources(policy: Policy, directive: str) -> list[str] | None:
    for name in _FALLBACKS.get(directive, (directive, "default-src")):
        if name in policy:
            return policy[name]
    return None


def _has_nonce(given: Iterable[str], nonce: str | None) -> bool:
    """Return whether our script runs by its nonce."""
    return bool(nonce) and any(
        each[:7].lower() == "'nonce-" and each[7:] == f"{nonce}'" for each in given
    )


def _allows(source: str, wanted: str, page_url: str) -> bool:
    """Return whether one source expression matches the origin ``wanted``."""
    source, target = source.lower(), urlsplit(wanted)
    if source == "'self'":
        return wanted == _origin(page_url)
    if source == "*":
        return target.scheme in ("http", "https")
    if source.endswith(":"):
        return target.scheme in (source[:-1], "https" if source == "http:" else "")
    scheme, separator, rest = source.rpartition("://")
    own = scheme if separator else urlsplit(page_url).scheme
    if target.scheme != own and not (own == "http" and target.scheme == "https"):
        return False
    host, _, port = rest.partition("/")[0].partition(":")
    theirs = target.hostname or ""
    matches = theirs.endswith(host[1:]) if host.startswith("*.") else host == theirs
    standard = "443" if target.scheme == "https" else "80"
    wanted_port = target.netloc.rpartition(":")[2] if ":" in target.netloc else standard
    # A source without a port means the standard one of its scheme.
    return matches and port in ("*", wanted_port, "" if wanted_port == standard else "*")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
