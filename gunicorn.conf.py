"""How gunicorn serves Coffer; the settings themselves are read and checked in `app.core.config`."""

from pathlib import Path

import gunicorn.http.wsgi

from app.core.config import load_settings

settings = load_settings()

proc_name = "coffer"
host = "127.0.0.1" if settings.env == "development" else "0.0.0.0"  # noqa: S104 - a container's own network
bind = f"{host}:{settings.server.port}"
worker_class = "gthread"
workers = settings.server.workers
threads = settings.server.threads
graceful_timeout = 30

limit_request_line = 4094
limit_request_field_size = 8190

# TRUSTED_PROXIES alone decides whose X-Forwarded-… to believe, in the application.
forwarded_allow_ips = ""

# No page of a disk may hold up a worker's sign of life.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - gunicorn makes its own file there
control_socket_disable = True

# Every request is logged by the application, with its id.
accesslog = None

# gunicorn has no setting for it, and which server answers is nobody's business.
gunicorn.http.wsgi.SERVER = "coffer"
