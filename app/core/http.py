"""The HTTP ways of every feature: strict bodies, documented refusals, ETags."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import datetime
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar

import flask_smorest
import marshmallow as ma
from flask import Request, Response, request
from flask.views import MethodView
from webargs import core as webargs
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from app.core.errors import PROBLEM_TYPE, CofferError, Forbidden, Invalid, Malformed, Stale, Unauthenticated

API_PREFIX = "/api/v1"
# Few requests need more; those that do raise it for themselves.
LARGEST_BODY = 64 * 1024
DEEPEST_BODY = 50

VERSION_HEADER = {"ETag": {"description": "The version of the resource", "schema": {"type": "string"}}}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "Change only this version (an ETag)",
    "schema": {"type": "string"},
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Answer 304 when this is the version",
    "schema": {"type": "string"},
}

View = TypeVar("View", bound=Callable[..., Any])


class Schema(ma.Schema):
    """The base of every shape: fields that it does not name are refused, and an explicit null only where allowed."""

    class Meta:
        unknown = ma.RAISE


class Flag(ma.fields.Boolean):
    """`true` or `false`, and nothing that only looks like them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class ProblemSchema(ma.Schema):
    """A refusal (RFC 9457)."""

    type = ma.fields.String(required=True, metadata={"description": "`urn:coffer:error:` and the code"})
    title = ma.fields.String(required=True, metadata={"description": "What went wrong, in words that do not change"})
    status = ma.fields.Integer(required=True, metadata={"description": "The HTTP status"})
    detail = ma.fields.String(required=True, metadata={"description": "What to do next"})
    code = ma.fields.String(
        required=True, metadata={"description": "A stable word for programs; docs/errors.md lists all"}
    )
    request_id = ma.fields.String(required=True, metadata={"description": "Finds this request in the logs"})
    errors = ma.fields.Dict(
        keys=ma.fields.String(),
        metadata={"description": "Of refused fields: the field's name and its messages"},
    )


class StrictParser(FlaskParser):
    """Reads bodies without guessing.

    A body of another media type is refused (415) instead of passed over; a name that stands twice in an
    object, NaN, infinity and deep nesting are malformed (400); text that PostgreSQL cannot hold is invalid (422).
    """

    DEFAULT_UNKNOWN_BY_LOCATION = {  # noqa: RUF012  # as the library declares it
        "json": None,
        "query": ma.RAISE,
        "form": ma.RAISE,
        "json_or_form": None,
    }

    def _raw_load_json(self, req: Request) -> Any:
        body = _whole_body(req)
        if not body and not req.mimetype:
            return webargs.missing
        if req.mimetype != "application/json":
            raise UnsupportedMediaType
        loaded = read_json(body)
        refuse_unstorable(loaded)
        return loaded

    def load_form(self, req: Request, schema: ma.Schema) -> Any:
        _whole_body(req, as_form=True)
        given = req.form.to_dict(flat=False)
        refuse_unstorable(given)
        if twice := [name for name, values in given.items() if len(values) > 1]:
            raise Invalid(errors={name: ["Must stand in the form once."] for name in twice})
        return super().load_form(req, schema)

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        refuse_unstorable(req.args.to_dict(flat=False))
        return super().load_querystring(req, schema)

    def _handle_invalid_json_error(self, error: Exception, req: Request, *args: Any, **kwargs: Any) -> NoReturn:
        raise Malformed from error


def _whole_body(req: Request, *, as_form: bool = False) -> bytes:
    """The body, read to its end. Raises Malformed when the framing is broken."""
    try:
        body = req.get_data(cache=True, parse_form_data=as_form)
    except OSError as error:  # gunicorn's word for a chunk that is none
        raise Malformed("The body ends early, or its chunks are broken.") from error
    # A body without a stated length is cut at the limit, and not refused, by the layers below.
    if req.content_length is None and len(body) >= LARGEST_BODY:
        raise RequestEntityTooLarge
    return body


def read_json(body: bytes) -> Any:
    """The value of a JSON text (RFC 8259), read strictly. Raises Malformed."""
    try:
        loaded = json.loads(body, object_pairs_hook=_unique_names, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed from error
    if _depth(loaded) > DEEPEST_BODY:
        raise Malformed(f"Nest objects and arrays at most {DEEPEST_BODY} deep.")
    return loaded


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        depth += 1
    return depth


def refuse_unstorable(value: Any) -> None:
    """Raise Invalid for text with NUL or half a surrogate pair, which PostgreSQL and UTF-8 cannot hold."""
    problems: dict[str, list[str]] = {}
    _find_unstorable(value, "body", problems)
    if problems:
        raise Invalid(errors=problems)


def _find_unstorable(value: Any, name: str, problems: dict[str, list[str]]) -> None:
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            problems[name] = ["Must not contain the NUL character or unpaired surrogates."]
    elif isinstance(value, dict):
        for key, inner in value.items():
            _find_unstorable(key, "body", problems)
            _find_unstorable(inner, str(key).replace("\x00", "\\0").encode("utf-8", "replace").decode(), problems)
    elif isinstance(value, list):
        for inner in value:
            _find_unstorable(inner, name, problems)


class Blueprint(flask_smorest.Blueprint):
    """A feature's routes, with every refusal in the OpenAPI page."""

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.append(self._prepare_refusals_doc)

    def refuses(self, *errors: type[CofferError]) -> Callable[[View], View]:
        """Name the refusals of a route beyond those that its decorators imply."""

        def decorate(view: View) -> View:
            apidoc = deepcopy(getattr(view, "_apidoc", {}))
            apidoc["refusals"] = [*apidoc.get("refusals", []), *errors]
            vars(view)["_apidoc"] = apidoc
            return view

        return decorate

    def _store_endpoint_docs(self, endpoint: str, obj: Any, parameters: Any, tags: Any, **options: Any) -> None:
        """Name each operation, so that generated clients have readable names."""
        super()._store_endpoint_docs(endpoint, obj, parameters, tags, **options)
        for method, doc in self._docs[endpoint].items():
            if method != "parameters":
                name = f"{method}_{endpoint}" if isinstance(obj, type(MethodView)) else endpoint
                doc.setdefault("manual_doc", {}).setdefault("operationId", name.lower())

    @staticmethod
    def _prepare_refusals_doc(doc: dict[str, Any], doc_info: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Answers by status, each with its codes; and whether a token is needed."""
        refusals: list[tuple[int, str, str]] = [(e.status, e.code, e.title) for e in doc_info.get("refusals", [])]
        if doc_info.get("arguments") or doc_info.get("manual_doc", {}).get("requestBody"):
            refusals += [(e.status, e.code, e.title) for e in (Malformed, Invalid)]
            refusals += [
                (415, "unsupported_media_type", "This media type is not taken"),
                (413, "body_too_large", "The body is too large"),
            ]
        if doc_info.get("requires"):
            doc["security"] = [{"bearer": []}]
            refusals += [
                (Unauthenticated.status, code, title)
                for code, title in (
                    (Unauthenticated.code, Unauthenticated.title),
                    ("invalid_token", "The token is not valid"),
                    ("token_expired", "The access token has expired"),
                )
            ]
            refusals += [(Forbidden.status, "permission_missing", "A permission is missing")]
        refusals += [
            (503, "unavailable", "Coffer cannot answer now"),
            (500, "internal_error", "Something went wrong"),
        ]
        responses = doc.setdefault("responses", {})
        responses.pop("default", None)
        for status in sorted({status for status, _, _ in refusals}):
            codes = dict.fromkeys(f"`{code}`: {title}" for other, code, title in refusals if other == status)
            # A view may have named another form of the same status (the OAuth2 form's 400).
            named = responses.get(status)
            content = named.get("content", {}) if isinstance(named, dict) else {}
            responses[status] = {
                "description": f"{HTTPStatus(status).phrase}. {'; '.join(codes)}.",
                "content": {**content, PROBLEM_TYPE: {"schema": ProblemSchema}},
            }
        return doc


class Api(flask_smorest.Api):
    """The OpenAPI document; errors leave through `app.core.errors`."""

    DEFAULT_ERROR_RESPONSE_NAME = None
    ERROR_SCHEMA = ProblemSchema

    def _register_pagination_header(self) -> None:
        """Pages are described by their own schemas."""

    def _register_error_handlers(self) -> None:
        """`create_app` registers ours instead."""


def parse_body(schema: type[Schema], location: str = "json") -> dict[str, Any]:
    """Read the body by hand, in a view that takes more than one form of it."""
    parsed: dict[str, Any] = Blueprint.ARGUMENTS_PARSER.parse(schema(), location=location)
    return parsed


def version_tag(updated_at: datetime) -> str:
    """The ETag of a row's present state."""
    return f"{int(updated_at.timestamp() * 1_000_000):x}"


def expected_version() -> Callable[[datetime], None]:
    """A check that the row is the one that the caller's If-Match names; everything passes without that header.

    The service calls it under its row lock. It raises Stale.
    """
    wanted = request.if_match

    # A header that cannot be read names no version, and so none that fits.
    given = "If-Match" in request.headers

    def check(updated_at: datetime) -> None:
        if given and not wanted.contains(version_tag(updated_at)):
            raise Stale

    return check


def with_version(response: Response, updated_at: datetime) -> Response:
    """Add the ETag, and answer 304 when the caller has this very state."""
    response.set_etag(version_tag(updated_at))
    if request.method in {"GET", "HEAD"}:
        response.make_conditional(request)
    return response
