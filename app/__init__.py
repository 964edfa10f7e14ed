"""Coffer: accounts and the money core of a personal-finance product, over REST."""

import re

from flask import Flask
from flask.json.provider import DefaultJSONProvider
from flask_cors import CORS
from sqlalchemy.orm import sessionmaker

from app import tables  # noqa: F401  # foreign keys name tables of features that nothing else imports yet
from app.audit import cli as audit_cli
from app.auth.registration import cli as registration_cli
from app.auth.registration import routes as registration_routes
from app.auth.sessions import routes as session_routes
from app.auth.sessions import service as sessions
from app.core import api_docs
from app.core.cache import Cache
from app.core.config import Environment, Settings, load_settings
from app.core.crypto import Keyring, derive
from app.core.db import engine_options
from app.core.db_errors import translate_errors
from app.core.db_metrics import watch_statements
from app.core.errors import register_error_handlers
from app.core.extensions import KEY, Parts, celery, db, migrate
from app.core.http import API_PREFIX, LARGEST_BODY, Api
from app.core.logging import configure_logging
from app.core.mail import MailboxMailer, Mailer, SmtpMailer
from app.core.pages import Cursors
from app.core.queueing import celery_options
from app.core.request_hooks import register_request_hooks
from app.core.security import StrictJWTManager
from app.core.storage import Storage, open_storage
from app.core.tokens import TokenSigner
from app.jobs import publisher
from app.ledger import cli as ledger_cli
from app.ops.health import routes as health_routes
from app.ops.mailbox import routes as mailbox_routes
from app.ops.monitoring import cli as monitoring_cli
from app.ops.monitoring import routes as monitoring_routes
from app.people import routes as people_routes
from app.seed import seed_command
from app.unit_of_work import UnitOfWork

API_BLUEPRINTS = (
    registration_routes.blp,
    session_routes.blp,
    people_routes.blp,
    health_routes.blp,
    monitoring_routes.blp,
)
PAGE_BLUEPRINTS = (registration_routes.pages, api_docs.blp)


def create_app(settings: Settings | None = None) -> Flask:
    """An application with these settings, or with those of the environment.

    Raises ConfigurationError when a setting is wrong.
    """
    settings = settings or load_settings()
    configure_logging(settings)
    app = Flask(__name__)
    app.config.update(_flask_options(settings))
    app.json = _json_provider(app)
    # Merging slashes would redirect, to the host that the request names.
    app.url_map.merge_slashes = False
    db.init_app(app)
    migrate.init_app(app, db)
    celery.conf.update(celery_options(settings))
    app.extensions[publisher.KEY] = publisher.BackgroundPublisher(celery)
    app.extensions[KEY] = made = _make_parts(app, settings)
    StrictJWTManager().init(
        app, made.signer, lambda claims: sessions.load_caller(UnitOfWork(acting_for=claims.subject), claims)
    )
    register_request_hooks(app, settings)
    _let_browsers_in(app, settings.server.cors_origins)
    register_error_handlers(app)
    _register_blueprints(app, settings)
    app.cli.add_command(registration_cli.users)
    app.cli.add_command(ledger_cli.ledger)
    app.cli.add_command(audit_cli.audit)
    app.cli.add_command(monitoring_cli.db_health)
    app.cli.add_command(seed_command)
    return app


def _make_parts(app: Flask, settings: Settings) -> Parts:
    storage = open_storage(settings.delivery.storage_url)
    with app.app_context():
        engine = db.engine
    watch_statements(engine, slow_after_ms=settings.database.slow_query)
    translate_errors(engine)
    return Parts(
        settings=settings,
        keyring=Keyring(settings.secrets),
        signer=TokenSigner(settings.secrets, issuer=settings.server.public_url),
        storage=storage,
        mailer=_mailer(settings, storage),
        cursors=Cursors(derive(settings.secrets.secret_key, "cursors")),
        # What a unit of work returns stays readable after its end, so nothing expires with the commit.
        sessions=sessionmaker(engine, expire_on_commit=False),
        cache=Cache(settings.queue.redis_url),
    )


def _let_browsers_in(app: Flask, origins: tuple[str, ...]) -> None:
    """Answer the preflights of these exact origins; all others get no CORS header at all."""
    if origins:
        # As patterns of our own: given as text, the library compares without regard to case.
        exactly = [re.compile(re.escape(origin) + r"\Z") for origin in origins]
        CORS(
            app,
            resources={rf"{API_PREFIX}/.*": {"origins": exactly}},
            allow_headers=["Authorization", "Content-Type", "If-Match", "If-None-Match", "X-Request-ID"],
            expose_headers=["ETag", "Link", "Location", "Retry-After", "X-Request-ID"],
            methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            max_age=600,
        )


def _json_provider(app: Flask) -> DefaultJSONProvider:
    provider = DefaultJSONProvider(app)
    provider.sort_keys = False
    provider.ensure_ascii = False
    return provider


def _register_blueprints(app: Flask, settings: Settings) -> None:
    api = Api(app)
    api.spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    for blueprint in API_BLUEPRINTS:
        api.register_blueprint(blueprint)
    for page in PAGE_BLUEPRINTS:
        app.register_blueprint(page)
    if settings.env is not Environment.PRODUCTION and settings.delivery.smtp_url is None:
        app.register_blueprint(mailbox_routes.blp)


def _mailer(settings: Settings, storage: Storage) -> Mailer:
    if settings.delivery.smtp_url is None:
        return MailboxMailer(storage, settings.delivery.mail_from)
    return SmtpMailer(settings.delivery.smtp_url, settings.delivery.mail_from)


def _flask_options(settings: Settings) -> dict[str, object]:
    return {
        "SECRET_KEY": derive(settings.secrets.secret_key, "flask"),
        "SQLALCHEMY_DATABASE_URI": settings.database.url,
        "SQLALCHEMY_ENGINE_OPTIONS": engine_options(settings),
        "MAX_CONTENT_LENGTH": LARGEST_BODY,
        "MAX_FORM_MEMORY_SIZE": LARGEST_BODY,
        "MAX_FORM_PARTS": 100,
        "JWT_TOKEN_LOCATION": ["headers"],
        "API_TITLE": "Coffer",
        "API_VERSION": "v1",
        "OPENAPI_VERSION": "3.0.3",
        "OPENAPI_URL_PREFIX": "/api",
        "OPENAPI_JSON_PATH": "openapi.json",
        "API_SPEC_OPTIONS": {
            "info": {"description": "Accounts, sessions and money data of a personal-finance product."},
            "servers": [{"url": settings.server.public_url}],
        },
    }
