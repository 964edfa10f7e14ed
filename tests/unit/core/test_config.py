"""Settings: what is refused, and how it is said (security numbers 34, 137)."""

import pytest

from app.core import config
from app.core.config import ConfigurationError, Environment, load_settings

SECRET = "kHq2vT9-xW7mZ4rLs8Np3BdYc6FjGa1E"
OTHER = "Zr8-bQ5nVx2KwTm7YsHd4LpJ9cGf3AeU"

PRODUCTION = {
    "COFFER_ENV": "production",
    "DATABASE_URL": "postgresql://api:pw@db.example.org/coffer",
    "REDIS_URL": "rediss://:pw@redis.example.org:6379/0",
    "SECRET_KEY": SECRET,
    "PUBLIC_URL": "https://coffer.example.org",
    "SMTP_URL": "smtps://user:pw@mail.example.org",
}


def problems_with(**changes: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(PRODUCTION | changes)
    return str(refused.value).splitlines()


def test_a_complete_production_environment_is_accepted() -> None:
    settings = load_settings(PRODUCTION)
    assert settings.env is Environment.PRODUCTION
    assert settings.database.url == "postgresql+psycopg://api:pw@db.example.org/coffer"
    assert settings.database.owner_url == settings.database.url
    assert settings.queue.broker_url == PRODUCTION["REDIS_URL"]
    assert settings.server.log_format == "json"


def test_production_is_what_an_unset_environment_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "RUNNING", config.VAR / "no such file")
    without = {name: value for name, value in PRODUCTION.items() if name != "COFFER_ENV"}
    assert load_settings(without).is_production


def test_every_faulty_variable_is_named_at_once() -> None:
    lines = problems_with(PORT="seven", BCRYPT_ROUNDS="99", DATABASE_URL="sqlite:///x.db", CORS_ORIGINS="*")
    assert sorted(line.split(" ")[0] for line in lines) == [
        "BCRYPT_ROUNDS",
        "CORS_ORIGINS",
        "DATABASE_URL",
        "PORT",
    ]
    assert "PORT holds 'seven'; it takes a whole number from 1 to 65535" in lines


@pytest.mark.parametrize("missing", sorted(set(PRODUCTION) - {"COFFER_ENV", "PUBLIC_URL"}))
def test_nothing_that_production_needs_has_a_default(missing: str) -> None:
    (line,) = problems_with(**{missing: ""})
    assert line.startswith(f"{missing} is unset; it takes ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "short"),
        ("SECRET_KEY", "x" * 64),
        ("SECRET_KEY", "abababababababababababababababababababab"),
        ("SECRET_KEY", "change-me-change-me-change-me-change-me-1234"),
        ("SECRET_KEY", "my-secret-key-my-secret-key-1234567890"),
        ("SECRET_KEY", "0123456789abcdef0123456789abcdef"),
        ("SECRET_KEY", "abcdefghijklmnopqrstuvwxyz0123456789"),
        ("SECRET_KEY", "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf"),
        ("DATABASE_URL", f"postgresql://api:{SECRET}@db.example.org/coffer"),
        ("ENCRYPTION_KEYS", f"id:{SECRET}"),
        ("ENCRYPTION_KEYS", f"{OTHER},short"),
        ("ENCRYPTION_KEYS", SECRET),
        ("ENCRYPTION_KEYS", f"{OTHER},{OTHER}"),
        ("JWT_KEYS", f"a:{SECRET}"),
        ("JWT_KEYS", OTHER),
        ("JWT_KEYS", f"a:{OTHER},a:{OTHER[::-1]}"),
        ("JWT_ALGORITHM", "none"),
        ("PUBLIC_URL", "http://coffer.example.org"),
        ("PUBLIC_URL", "https://user:pw@coffer.example.org"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://*.example.org"),
        ("CORS_ORIGINS", "https://app.example.org/path"),
        ("DATABASE_URL", "sqlite:////tmp/coffer.db"),
        ("BCRYPT_ROUNDS", "9"),
        ("STORAGE_URL", "memory:///"),
        ("FLASK_DEBUG", "1"),
        ("MAIL_FROM", "Coffer <a@b.example>\nBcc: c@d.example"),
    ],
)
def test_unsafe_settings_stop_the_start(name: str, value: str) -> None:
    assert any(name in line or "SECRET_KEY" in line for line in problems_with(**{name: value}))


def test_an_asymmetric_algorithm_needs_keys() -> None:
    assert problems_with(JWT_ALGORITHM="RS256") == ["JWT_KEYS is unset; RS256 takes `id:base64 of a PEM private key`"]


def test_what_a_secret_held_is_not_repeated() -> None:
    (line,) = problems_with(SECRET_KEY="guessable")
    assert "guessable" not in line


def test_development_makes_a_secret_and_keeps_it(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "VAR", tmp_path)
    given = {
        "COFFER_ENV": "development",
        "DATABASE_URL": PRODUCTION["DATABASE_URL"],
        "REDIS_URL": PRODUCTION["REDIS_URL"],
    }
    first, second = load_settings(given), load_settings(given)
    assert first.secrets.secret_key == second.secrets.secret_key
    assert len(first.secrets.secret_key) >= 32
    kept = config.VAR / "secret_key"
    assert kept.stat().st_mode & 0o077 == 0


def test_commands_find_the_servers_of_make_run(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "VAR", tmp_path)
    monkeypatch.setattr(config, "RUNNING", config.VAR / "run.env")
    config.RUNNING.write_text(
        "COFFER_ENV=development\nDATABASE_URL=postgresql://x@127.0.0.1/y\nREDIS_URL=redis://127.0.0.1\n"
    )
    for name in PRODUCTION:
        monkeypatch.delenv(name, raising=False)
    assert load_settings().database.url == "postgresql+psycopg://x@127.0.0.1/y"


def test_a_settings_object_shows_no_secret_when_it_is_printed() -> None:
    settings = load_settings(PRODUCTION | {"ENCRYPTION_KEYS": OTHER})
    shown = repr(settings)
    assert SECRET not in shown
    assert OTHER not in shown
    assert "pw" not in shown
    assert "https://coffer.example.org" in shown
