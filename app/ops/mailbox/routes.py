"""The mail that Coffer sent, as a page; registered in development only."""

from flask import Response, jsonify, make_response, render_template, request

from app.core.http import Blueprint
from app.core.security import public
from app.ops.mailbox.service import list_mails

blp = Blueprint("mailbox", __name__)


@blp.route("/dev/mailbox", methods=["GET"])
@public
def mailbox() -> Response:
    """Show the newest mails as a page, or as JSON to who accepts only that; `?to=` picks a receiver."""
    mails = list_mails(to=request.args.get("to"))
    if request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json":
        return jsonify({"items": mails})
    page = make_response(render_template("pages/mailbox.html", mails=mails))
    page.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'self'; frame-ancestors 'none'"
    return page
