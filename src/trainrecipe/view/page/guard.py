"""Who may talk to the page: only the browser that was given the token, on this machine, from the page itself.

The threats are other web pages in the same browser. Such a page can send requests to loopback (cross-site request forgery),
can resolve its own name to 127.0.0.1 (DNS rebinding), and can embed what it cannot read. Hence: a random token in a cookie
that is `HttpOnly` and `SameSite=Strict`; the `Host` must be a loopback name; an `Origin`, which every POST must have, must be
the page's own; `Sec-Fetch-Site` must not tell of another site; and a strict Content-Security-Policy. See the OWASP cheat
sheets on cross-site request forgery and on the Content Security Policy, and W3C Fetch Metadata.
"""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
LARGEST_BODY = 64 * 1024
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LOCKED = "This page is private. Open the address that `recipe view` printed in the terminal: it holds the key.\n"


class Guard:
    """Wraps an application. `cookie` names the cookie that keeps the token; it holds the port, as cookies know none."""

    def __init__(self, app: ASGIApp, *, token: str, cookie: str = "trainrecipe") -> None:
        self.app = app
        self.token = token
        self.cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with what is wrong."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the page has no web sockets
        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        await self.app(scope, _Bounded(receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if _name(host) not in LOOPBACK:
            return PlainTextResponse("The page answers only on this machine, as localhost.\n", 421)
        own, origin = f"http://{host}", headers.get("origin")
        reading = scope["method"] in ("GET", "HEAD")
        if (origin is None and not reading) or origin not in (None, own):
            return PlainTextResponse("Requests are taken only from the page itself.\n", 403)
        navigates = reading and headers.get("sec-fetch-mode", "navigate") == "navigate"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not navigates:
            return PlainTextResponse("Requests are taken only from the page itself.\n", 403)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            return PlainTextResponse("The request is too large.\n", 413)
        if reading and b"token=" in scope["query_string"]:
            pairs = parse_qsl(scope["query_string"].decode("latin-1"))
            if "token" in dict(pairs):  # and not in the middle of somebody's expression
                return self._entrance(scope, pairs)
        return None if self._same(_cookie(headers, self.cookie)) else PlainTextResponse(_LOCKED, 403)

    def _entrance(self, scope: Scope, pairs: list[tuple[str, str]]) -> Response:
        """Turn a token in the address into a cookie, and take it out of the address."""
        if not self._same(dict(pairs).get("token", "")):
            return PlainTextResponse(_LOCKED, 403)
        rest = urlencode([(k, v) for k, v in pairs if k != "token"])
        # A path that begins with two slashes would lead to another host.
        path = "/" + scope.get("raw_path", b"/").decode("latin-1").lstrip("/\\")
        response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
        return response

    def _same(self, offered: str) -> bool:
        return secrets.compare_digest(offered.encode("utf-8", "replace"), self.token.encode())


class TooLarge(Exception):
    """A body that grew past `LARGEST_BODY` while it was read."""


class _Bounded:
    """Reads a body that may have no declared length, and stops at the bound."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.read = 0

    async def __call__(self) -> Message:
        message = await self.receive()
        self.read += len(message.get("body", b""))
        if self.read > LARGEST_BODY:
            raise TooLarge
        return message


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def _name(host: str) -> str:
    """The host without its port: with `ssh -L` the browser may see another port than the server."""
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""
