"""The profile over HTTP."""

from typing import Any

from flask import Response, jsonify
from flask.views import MethodView

from app.core.errors import Stale
from app.core.http import (
    API_PREFIX,
    IF_MATCH,
    IF_NONE_MATCH,
    VERSION_HEADER,
    Blueprint,
    expected_version,
    with_version,
)
from app.core.security import caller, requires
from app.people import service
from app.people.models import User
from app.people.schemas import ProfileOut, ProfilePatch
from app.unit_of_work import UnitOfWork

blp = Blueprint("profile", __name__, url_prefix=API_PREFIX, description="The person themselves")


@blp.route("/profile")
class Profile(MethodView):
    """One's own profile."""

    @requires("profile:read")
    @blp.response(200, ProfileOut, headers=VERSION_HEADER)
    @blp.alt_response(304, description="The caller has this version already (If-None-Match)")
    @blp.doc(parameters=[IF_NONE_MATCH])
    def get(self) -> Response:
        """Read one's own profile."""
        return _shown(service.get_profile(UnitOfWork(), user_id=caller().id))

    @requires("profile:write")
    @blp.arguments(ProfilePatch, required=False)
    @blp.response(200, ProfileOut, headers=VERSION_HEADER)
    @blp.doc(parameters=[IF_MATCH])
    @blp.refuses(Stale)
    def patch(self, changes: dict[str, Any]) -> Response:
        """Change some fields of one's own profile.

        Send the ETag that was read in `If-Match`, and a change that somebody else made meanwhile is not overwritten.
        """
        return _shown(
            service.update_profile(UnitOfWork(), user_id=caller().id, changes=changes, check_version=expected_version())
        )


def _shown(user: User) -> Response:
    return with_version(jsonify(ProfileOut().dump(user)), user.updated_at)
