"""The page at /api/docs, with scripts of our own server only."""

from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, make_response, render_template, send_from_directory

ASSETS = Path(flask_swagger_ui.__file__).parent / "dist"

blp = Blueprint("api-page", __name__)


@blp.get("/api/docs")
def page() -> Response:
    """Show the OpenAPI document, to read and to try."""
    shown = make_response(render_template("pages/api_docs.html"))
    # Swagger UI puts style attributes and data: images into its page.
    shown.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return shown


@blp.get("/api/docs/<any('swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png'):name>")
def asset(name: str) -> Response:
    """Serve the page's scripts and styles."""
    return send_from_directory(ASSETS, name, max_age=86_400)
