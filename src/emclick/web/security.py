"""Who may ask: the server answers its own page and programs that know the token, and nobody else.

A page of another origin that the user happens to have open cannot read or change anything: its Host, if a name was
made to point here, is not ours; its Origin is not ours; and it has neither cookie nor token.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from starlette.exceptions import HTTPException

from emclick.web.refusal import refusal_page

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/health"})
"""Paths that need no token."""

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""On every answer."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask.

    Attributes:
        token: what they must know.
        port: that the server listens on; in the cookie's name, for cookies are shared by all ports.
        hosts: names, or name:port, by which the server may be called, besides those of this machine.
        root_path: what a proxy puts before every path, "" or "/name".
    """

    token: str
    port: int = 0
    hosts: frozenset[str] = frozenset()
    root_path: str = ""

    @property
    def cookie_name(self) -> str:
        return f"emclick-token-{self.port}"

    def cookie(self, secure: bool = False) -> str:
        """The Set-Cookie header."""
        value = quote(self.token, safe="")
        path = f"{self.root_path}/"
        return f"{self.cookie_name}={value}; Path={path}; HttpOnly; SameSite=Strict" + (
            "; Secure" if secure else ""
        )

    def knows(self, offered: str) -> bool:
        """Whether text from a request is the token, as it is or percent-encoded; takes the same time for any."""
        return any([_same(self.token, offered), _same(self.token, unquote(offered))])


def _same(token: str, offered: str) -> bool:
    return hmac.compare_digest(token.encode(), offered.encode("utf-8", "surrogateescape"))


BODY_LIMITS = (
    ("/api/import", 2 << 30),
    ("/masks", 256 << 20),
    ("/settings", 64 << 10),
    ("/mask", 64 << 20),
    ("/objects", 64 << 20),
    ("", 1 << 20),
)
"""End of a path -> bytes that a body may have; the first that fits."""


class Guardian:
    """ASGI middleware: host, origin, token, size, and the headers of every answer.

    Args:
        app: what answers those who may ask.
        access: who may ask.
    """

    def __init__(self, app: App, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        root = self._access.root_path
        if root and scope["path"] == root:  # without the slash the page's relative addresses would miss it
            query = scope["query_string"]
            location = f"{root}/".encode() + (b"?" + query if query else b"")
            await send({"type": "http.response.start", "status": 307, "headers": [(b"location", location)]})
            await send({"type": "http.response.body", "body": b""})
            return
        scope = self._without_root(scope)
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            wants_page = scope["path"] == "/" and scope["method"] == "GET"
            await _refuse(send, *refusal, page=wants_page and "text/html" in headers.get("accept", ""))
            return
        limit = next(limit for end, limit in BODY_LIMITS if scope["path"].rstrip("/").endswith(end))
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > limit:
            await _refuse(send, *_too_large(limit))
            return
        await self._app(scope, _limited(receive, limit), self._sending(scope, headers, send))

    def _without_root(self, scope: Scope) -> Scope:
        """Proxies leave the root path on or take it off; here it comes off."""
        root = self._access.root_path
        if root and scope["path"].startswith(root + "/"):
            return {**scope, "path": scope["path"][len(root) :], "raw_path": None}
        return scope

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        if not self._known_host(_hostname(host), scope):
            return (
                403,
                "host_refused",
                f"this server is not called {host:.100}: start it with --allow-host NAME",
            )
        origin = headers.get("origin")
        if origin is not None and not self._known_origin(origin, host):
            return 403, "origin_refused", f"requests from pages of {origin:.100} are refused"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["path"].startswith("/api"):
            return 403, "origin_refused", "requests from pages of other sites are refused"
        if scope["path"] in OPEN_PATHS or any(
            [self._access.knows(each) for each in self._offered(scope, headers)]
        ):
            return None
        return (
            401,
            "token_missing",
            "open the address that `emclick serve` printed: its token is missing or wrong",
        )

    def _known_host(self, name: str, scope: Scope) -> bool:
        if name in LOCAL_NAMES or name in {_hostname(each) for each in self._access.hosts}:
            return True
        server = (scope.get("server") or ("",))[0]
        return name == server and _is_address(name)  # a name could be made to point here, an address cannot

    def _known_origin(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
            usual = parts.port in (None, 80, 443)
        except ValueError:
            return False
        place = parts.netloc.lower()
        ours = place == host.lower() or place in self._access.hosts
        # behind a proxy the page has the proxy's name, and the request perhaps ours
        return parts.scheme in ("http", "https") and (
            ours or (usual and _hostname(place) in self._access.hosts and "@" not in place)
        )

    def _offered(self, scope: Scope, headers: dict[str, str]) -> Iterable[str]:
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            yield value.strip()
        for part in headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == self._access.cookie_name:
                yield value
        if scope["path"] == "/":
            query = scope["query_string"].decode("latin-1")
            yield from parse_qs(query, encoding="utf-8", errors="surrogateescape").get("token", [])[:1]

    def _sending(self, scope: Scope, headers: dict[str, str], send: Send) -> Send:
        with_token = scope["path"] == "/" and b"token=" in scope["query_string"]
        secure = scope.get("scheme") == "https" or headers.get("x-forwarded-proto") == "https"

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", []))
                names = {name.lower() for name, _ in own}
                own += [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in names]
                if b"cache-control" not in names:
                    own.append((b"cache-control", b"no-store"))
                if with_token and message["status"] == 200:
                    own.append((b"set-cookie", self._access.cookie(secure).encode()))
                message = {**message, "headers": own}
            await send(message)

        return sending


def _too_large(limit: int) -> tuple[int, str, str]:
    size = f"{limit >> 20} MB" if limit >= 1 << 20 else f"{limit >> 10} KB"
    return 413, "too_large", f"the request is larger than {size}"


def _limited(receive: Receive, limit: int) -> Receive:
    """Count what comes: a length that is not told, or a wrong one, must not matter."""
    seen = 0

    async def limited() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413, _too_large(limit)[2])
        return message

    return limited


async def _refuse(send: Send, status: int, code: str, message: str, *, page: bool = False) -> None:
    text = refusal_page(code, message) if page else json.dumps({"error": {"code": code, "message": message}})
    body = text.encode("utf-8", "replace")
    headers = {**HEADERS, "content-type": "text/html; charset=utf-8" if page else "application/json",
               "content-length": str(len(body)), "cache-control": "no-store"}  # fmt: skip
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    start = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


def _hostname(host: str) -> str:
    """Of a Host header, lower case, without the port; "" if it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
