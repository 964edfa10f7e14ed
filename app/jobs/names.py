"""The names of all tasks and queues: what a feature puts in the outbox, and `tasks/` answers to."""

from dataclasses import dataclass

DEFAULT_QUEUE = "default"
MAIL_QUEUE = "mail"


@dataclass(frozen=True, slots=True)
class TaskName:
    """A task and the queue it waits in."""

    name: str
    queue: str = DEFAULT_QUEUE


SEND_VERIFICATION = TaskName("auth.send_verification", MAIL_QUEUE)
SEND_ADDRESS_TAKEN = TaskName("auth.send_address_taken", MAIL_QUEUE)
SEND_WELCOME = TaskName("auth.send_welcome", MAIL_QUEUE)
SEND_REUSE_NOTICE = TaskName("auth.send_reuse_notice", MAIL_QUEUE)
SEND_BUDGET_ALERT = TaskName("ledger.send_budget_alert", MAIL_QUEUE)

RELAY_OUTBOX = TaskName("jobs.relay_outbox")
PURGE_OUTBOX = TaskName("jobs.purge_outbox")

SEAL_AUDIT = TaskName("audit.seal")
KEEP_PARTITIONS = TaskName("ops.keep_partitions")

SWEEP_BUDGET_ALERTS = TaskName("ledger.sweep_budget_alerts")
PURGE_DELETED = TaskName("ledger.purge_deleted")
