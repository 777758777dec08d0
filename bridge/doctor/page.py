"""The running app as a visitor's browser sees it: what its answers say of our set-up. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from urllib.parse import urljoin, urlsplit

import msgspec

from bridge.doctor.finding import Finding, bad, good, note, warning
from bridge.doctor.markup import Markup
from bridge.doctor.policy import (
    distrusts_tag,
    find_missing,
    find_missing_types,
    parse_policies,
)
from bridge.visitor.cookies import PAGE_COOKIE, SESSION_COOKIE, find_cookie_domain
from bridge.visitor.identity import Identity, SessionSigner

TAG = "{{ bridge.script_tag() }} (Django: {{ bridge_tag }}, of docs/frameworks.md)"
_SEND_HOST = "let your proxy pass the Host header (nginx: proxy_set_header Host $http_host)"
_TRUST = (
    "set trusted_proxies (BRIDGE_TRUSTED_PROXIES) to your proxy's address or network, or to unix if"
    " it connects over a Unix socket"
)
_PORTS = {"http": 80, "https": 443}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of the app.

    Attributes:
        url: Of the page that came in the end, redirects followed.
        status: HTTP's.
        headers: By lower-case name; several of one name joined by commas.
        cookies: Values of ``Set-Cookie``.
        content: The body, cut at a limit.
        received_at: Unix seconds, by our clock.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    cookies: tuple[str, ...] = ()
    content: bytes = b""
    received_at: float = 0.0

    @property
    def is_https(self) -> bool:
        """Whether it came over TLS."""
        return self.url.startswith("https://")

    @property
    def host(self) -> str:
        """The page's host, lower-case."""
        return (urlsplit(self.url).hostname or "").lower()


def find_script(page: Answer, markup: Markup) -> str:
    """Return the address of our script on the page; empty without a tag."""
    return urljoin(page.url, markup.script) if markup.script else ""


def look_at_tag(
    page: Answer, markup: Markup, prefix: str, pixel_ids: Collection[str]
) -> Iterator[Finding]:
    """Yield whether the page has our tag, and where, and pixels besides ``pixel_ids``."""
    if page.status != 200:
        is_error = page.status >= 400
        text = f"{page.url} answers {page.status}"
        yield (bad if is_error else warning)("page", text, "give --url of a page it serves")
        if is_error:
            return
    others = [each for each in markup.pixel_ids if each not in pixel_ids]
    if others:
        yield note(
            "pixel",
            f"the page itself initialises {', '.join(others)}, which is not in these settings",
            "check BRIDGE_PIXEL_ID, unless the page is meant to have another pixel as well",
        )
    if not markup.script:
        text = (
            f"{page.url} has {markup.stray}, but the path is {prefix}/bridge.js"
            if markup.stray
            else f"{page.url} has none, so its visitors send no browser copies"
        )
        fix = f"put {TAG} into the <head> of your base template, ahead of any pixel"
        yield bad("script tag", text, fix)
        return
    yield good("script tag", markup.script)
    if markup.pixel_first:
        text = "the page's own pixel comes first: its PageView may go out without an event id"
        yield warning("script tag", text, "move our tag ahead of Meta's snippet")


def look_at_policy(
    page: Answer, markup: Markup, needed: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """Yield whether the page's policy allows what the script does."""
    policies = parse_policies([page.headers.get("content-security-policy", ""), *markup.policies])
    if not policies:
        yield good("policy", "the page has no Content-Security-Policy")
        return
    missing = find_missing(policies, needed, page.url, nonce=markup.nonce)
    is_distrusted = distrusts_tag(policies, markup.nonce, markup.integrity)
    types = find_missing_types(policies)
    if not missing and not is_distrusted and not types:
        yield good("policy", "it allows the script, the pixel and their requests")
    if is_distrusted:
        whose = "our tag does not have it" if markup.nonce is None else "our tag has another one"
        yield bad(
            "policy",
            "with 'strict-dynamic' in script-src the script runs only by the policy's nonce, and"
            f" {whose}",
            "write the tag as bridge.script_tag(nonce=nonce), with the nonce of this answer's"
            " policy; hosts in script-src change nothing",
        )
    for directive, sources in missing.items():
        yield bad(
            "policy",
            f"{directive} does not allow {' '.join(sources)}",
            f"add to {directive}: {' '.join(sources)} (bridge.csp_directives() has all)",
        )
    if types:
        yield bad(
            "policy",
            f"trusted-types does not allow {' '.join(types)}",
            f"add to trusted-types: {' '.join(types)}",
        )


def read_session(cookies: Iterable[str]) -> str | None:
    """Return the value of our session cookie."""
    return _read_cookie(cookies, SESSION_COOKIE)


def _read_cookie(cookies: Iterable[str], name: bytes) -> str | None:
    for line in cookies:
        key, _, value = line.partition(";")[0].partition("=")
        if key.strip() == name.decode():
            return value.strip()
    return None


def look_at_page_address(page: Answer, *, has_allowed_hosts: bool) -> Iterator[Finding]:
    """Yield whether the app saw the host and port that we asked for: a cookie keeps the page's URL.

    An https that it does not know of shows in the cookies, which are not Secure then.
    """
    if read_session(page.cookies) is None:
        return
    seen = _read_cookie(page.cookies, PAGE_COOKIE)
    if seen is None:
        if has_allowed_hosts:
            yield bad(
                "page address",
                f"the app refuses the host that it sees, so events carry no URL: {page.host} is not"
                " among allowed_hosts, or a proxy sends another",
                f"add {page.host} to allowed_hosts (BRIDGE_ALLOWED_HOSTS), or {_SEND_HOST}",
            )
        return
    asked, found = _read_origin(page.url), _read_origin(seen)
    if found in (asked, asked.replace("https://", "http://")):
        yield good("page address", "the app sees the host that the browser asks for")
        return
    is_scheme = found.partition("://")[2] == asked.partition("://")[2]
    yield bad(
        "page address",
        f"asked for {asked}, the app sees {found}: events carry URLs that no browser showed",
        "let your proxy send X-Forwarded-Proto as the visitor's scheme"
        if is_scheme
        else _SEND_HOST,
    )


def _read_origin(url: str) -> str:
    """Return scheme, host and port, without the scheme's own port."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme}://{place.removesuffix(f':{_PORTS.get(parts.scheme)}')}"


def look_at_cookies(page: Answer, *, is_granted: bool) -> Iterator[Finding]:
    """Yield whether the page sets our cookies, and as the browser keeps them."""
    line = next((each for each in page.cookies if _is_session(each)), None)
    if line is None:
        yield from _explain_no_cookies(page, is_granted=is_granted)
        return
    attributes = {
        key.strip().lower(): value.strip()
        for key, _, value in (part.partition("=") for part in line.split(";")[1:])
    }
    problems = False
    if page.is_https and "secure" not in attributes:
        problems = True
        yield bad(
            "cookies",
            "they are not Secure on https: the app thinks that requests come over http",
            f"{_TRUST}, and let the proxy send X-Forwarded-Proto",
        )
    if not page.is_https and not _is_local(page.host):
        yield warning("cookies", f"{page.url} is not https: anybody on the way can read them",
                      "redirect http to https")  # fmt: skip
    domain = attributes.get("domain", "").lstrip(".").lower()
    wanted = find_cookie_domain(page.host).domain
    if domain and not f".{page.host}".endswith(f".{domain}"):
        problems = True
        yield bad(
            "cookies",
            f"their domain is {domain}, and the page is on {page.host}: browsers drop them",
            f"{_SEND_HOST}, or set cookie_domain",
        )
    elif wanted and domain != wanted:
        problems = True
        yield warning(
            "cookies",
            f"they are valid for {domain or page.host} only, not for all of {wanted}",
            f"{_SEND_HOST}, or leave cookie_domain out",
        )
    if not problems:
        secure = "Secure, " if "secure" in attributes else ""
        yield good("cookies", f"{secure}for {domain or page.host}")


def _explain_no_cookies(page: Answer, *, is_granted: bool) -> Iterator[Finding]:
    caching = page.headers.get("cache-control", "")
    if not is_granted:
        yield note("cookies", "none before the visitor agrees: consent is not granted by default")
    elif "public" in caching or "s-maxage" in caching:
        text = (
            f"none here, since caches may keep it (Cache-Control: {caching}); the script gets them"
        )
        yield note("cookies", text, "give --url of a page that is not cached, to see more")
    else:
        yield bad(
            "cookies",
            "a new visitor gets none of ours",
            "add BridgeMiddleware to the app, take the path out of exclude_paths, and let the"
            " proxy or CDN pass Set-Cookie",
        )


def look_at_caching(first: Answer, second: Answer) -> Iterator[Finding]:
    """Yield whether a cache shows one visitor's answer to another."""
    caching = first.headers.get("cache-control", "").lower()
    cookies = [read_session(each.cookies) for each in (first, second)]
    if cookies[0] is None:
        return
    if cookies[0] == cookies[1]:
        yield bad(
            "caching",
            "two new visitors got the same session: a cache keeps pages with their cookies, so all"
            " visitors become one",
            "let the CDN bypass answers with Set-Cookie, or Cache-Control: private",
        )
    elif "public" in caching or "s-maxage" in caching:
        yield bad(
            "caching",
            f"Cache-Control: {caching} on a page with cookies: something behind Bridge adds it",
            "set Cache-Control in the app, where the middleware sees it, and not in the proxy",
        )
    else:
        yield good("caching", "each new visitor gets a session of their own")


def look_at_address(
    page: Answer, signer: SessionSigner, *, trusts_proxies: bool, reaches_out: bool
) -> Iterator[Finding]:
    """Yield whether the app sees its visitors' addresses: the session that we got holds ours.

    Args:
        page: An answer to a new visitor.
        signer: Of these settings.
        trusts_proxies: Whether ``trusted_proxies`` is set.
        reaches_out: Whether our way there leads over public addresses, so that we have one.
    """
    identity = _read_identity(page, signer)
    if identity is None:
        if read_session(page.cookies) is not None:
            yield bad(
                "secret key",
                "the session is signed with another secret_key than that of these settings",
                "give all processes and machines the same BRIDGE_SECRET_KEY",
            )
        return
    if identity.client_ip:
        yield good("client address", "the app sees a visitor's public address")
    elif not reaches_out:
        yield note(
            "client address",
            "cannot tell from this network whether the app sees visitors' addresses: your own is"
            " this machine's or a private one, which is never sent; visitors' are",
            "run doctor --url from another network" if not trusts_proxies else "",
        )
    else:
        yield bad(
            "client address",
            "the app sees a proxy's address instead of ours, so events carry no client_ip_address",
            "check trusted_proxies and client_ip_header" if trusts_proxies else _TRUST,
        )


def look_at_forgery(page: Answer, signer: SessionSigner, forged: str) -> Iterator[Finding]:
    """Yield whether the app believed the address ``forged`` that we wrote into our own request."""
    identity = _read_identity(page, signer)
    if identity is not None and identity.client_ip == forged:
        yield bad(
            "client address",
            "the app trusts the header as a browser sent it: anybody can choose an address",
            "narrow trusted_proxies to your own proxies, and let the outer one replace the header",
        )


def look_at_health(answer: Answer) -> Iterator[Finding]:
    """Yield whether the app's own health is well."""
    try:
        report = msgspec.json.decode(answer.content, type=dict[str, object])
        status = report.get("status")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        status = None
    if answer.status in (401, 403, 404) and status is None:
        why = "it is not public, or BridgeMiddleware is missing"
        text = f"{answer.url} answers {answer.status}: {why}"
        yield note("health", text)
    elif status == "ok":
        yield good("health", "the running app says ok")
    else:
        yield bad(
            "health",
            f"the running app says {status}" if status else f"unreadable, HTTP {answer.status}",
            "pixel-bridge status shows which destination, and why",
        )


def _is_session(line: str) -> bool:
    return read_session([line]) is not None


def _read_identity(page: Answer, signer: SessionSigner) -> Identity | None:
    value = read_session(page.cookies)
    return None if value is None else signer.read(value.encode(), page.received_at)


def _is_local(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
