"""What happens around every request: its id, its log line, the security headers."""

import time

import structlog
from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from app.core import origin
from app.core.config import Settings

log = structlog.get_logger("app.request")

# OWASP Secure Headers. Pages that show something set a Content-Security-Policy of their own.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def register_request_hooks(app: Flask, settings: Settings) -> None:
    """Bind the hooks, and believe as many proxies as configured."""
    hops = settings.server.trusted_proxies
    if hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=0)  # type: ignore[method-assign]
    app.before_request(_begin)
    app.after_request(_finish)
    app.teardown_request(_leave)


def _begin() -> None:
    g.started = time.monotonic()
    g.origin = origin.working_for(
        origin.Origin(
            request_id=origin.accepted_request_id(request.headers.get("X-Request-ID")),
            ip=request.remote_addr,
            user_agent=request.headers.get("User-Agent", "")[:400] or None,
        )
    )
    g.origin.__enter__()


def _finish(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    now = origin.current()
    response.headers["X-Request-ID"] = now.request_id
    if request.path not in {"/healthz", "/readyz"}:
        log.info(
            "request",
            method=request.method,
            # The rule and not the address: nobody's ids or tokens get into the logs.
            route=request.url_rule.rule if request.url_rule else None,
            status=response.status_code,
            milliseconds=round((time.monotonic() - g.started) * 1000, 1),
            ip=now.ip,
            actor=str(now.actor_id) if now.actor_id else None,
        )
    return response


def _leave(_: BaseException | None) -> None:
    entered = g.pop("origin", None)
    if entered is not None:
        entered.__exit__(None, None, None)
