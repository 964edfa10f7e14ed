"""How Celery is set up, for those who publish and for the workers alike."""

from typing import Any

from app.core.config import Settings

SOFT_LIMIT_SECONDS = 60
HARD_LIMIT_SECONDS = 90
# Longer than any task may run, so that a broker never hands out again what is still at work.
VISIBILITY_SECONDS = 300


def celery_options(settings: Settings) -> dict[str, Any]:
    """Messages are acknowledged when the work is done; JSON only; every wait is bounded."""
    return {
        "broker_url": settings.queue.broker_url,
        "broker_connection_timeout": 2,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_SECONDS,
            "unacked_restore_interval": 30,
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "result_backend": None,
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_soft_time_limit": SOFT_LIMIT_SECONDS,
        "task_time_limit": HARD_LIMIT_SECONDS,
        "task_default_queue": "default",
        "worker_prefetch_multiplier": 1,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "enable_utc": True,
        "timezone": "UTC",
    }
