"""Whether Coffer lives, and whether it can work."""

from typing import Any

from flask import Response, jsonify

from app.core.http import Blueprint
from app.core.security import public
from app.ops.health import service
from app.ops.health.schemas import AliveOut, ReadyOut

blp = Blueprint("health", __name__, description="For load balancers and supervisors")


@blp.route("/healthz", methods=["GET"])
@public
@blp.response(200, AliveOut)
def alive() -> dict[str, str]:
    """Say that the process answers; nothing else is asked."""
    return {"status": "alive"}


@blp.route("/readyz", methods=["GET"])
@public
@blp.response(200, ReadyOut)
@blp.alt_response(503, schema=ReadyOut, description="A part does not answer; `checks` says which")
def ready() -> Response:
    """Say whether database, Redis, queue and migrations are as they must be to work."""
    checks = service.check_parts()
    fine = all(checks.values())
    shown: dict[str, Any] = {"status": "ready" if fine else "not ready", "checks": checks}
    answer = jsonify(ReadyOut().dump(shown))
    answer.status_code = 200 if fine else 503
    return answer
