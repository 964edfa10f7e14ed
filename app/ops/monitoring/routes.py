"""Figures for Prometheus."""

import hmac
from ipaddress import ip_address

from flask import Response, request

from app.core.errors import Forbidden, Unauthenticated
from app.core.extensions import settings
from app.core.http import Blueprint
from app.core.metrics import CONTENT_TYPE, exposition
from app.core.security import public
from app.ops.monitoring.service import DatabaseCollector
from app.unit_of_work import UnitOfWork

blp = Blueprint("monitoring", __name__, description="For Prometheus")

# What proxies add. Where none is expected (TRUSTED_PROXIES), such a request is not from this machine after all.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


@blp.route("/metrics", methods=["GET"])
@public
@blp.response(200, {"type": "string"}, content_type="text/plain", description="Prometheus' text format")
@blp.refuses(Unauthenticated, Forbidden)
def metrics() -> Response:
    """Figures of all processes of this machine.

    Takes `METRICS_TOKEN` as a bearer token where one is set, else answers only callers on the same machine.
    """
    _check_caller()
    return Response(exposition(DatabaseCollector(UnitOfWork(everybody=True))), content_type=CONTENT_TYPE)


def _check_caller() -> None:
    """Let in who holds the token; without one, who is here. Raises Unauthenticated, Forbidden."""
    token = settings().server.metrics_token
    if token is not None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise Unauthenticated("Send `Authorization: Bearer` with the METRICS_TOKEN of this installation.")
        return
    proxied = settings().server.trusted_proxies == 0 and any(name in request.headers for name in _FORWARDED)
    if proxied or not ip_address(request.remote_addr or "0.0.0.0").is_loopback:  # noqa: S104  # no address is not ours
        raise Forbidden("Ask from the same machine, or set METRICS_TOKEN and send it.")
