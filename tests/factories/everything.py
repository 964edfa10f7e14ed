"""A row in every table that holds a person's rows."""

import secrets
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from app.auth.api_keys.models import ApiKey
from app.auth.devices.models import Device
from app.auth.mfa.models import BackupCode
from app.auth.oauth.models import Identity
from app.auth.registration.models import OneTimeToken, TokenPurpose
from app.auth.sessions.models import RefreshToken, Session
from app.core.db import Base, new_id
from app.insights.analytics.models import ActivityEvent, EngagementScore
from app.insights.segments.models import SegmentKind, SegmentMembership
from app.jobs.models import IdempotencyKey, Job
from app.ledger.accounts.models import Account, AccountType
from app.ledger.budgets.models import Budget, BudgetAlert, BudgetPeriod
from app.ledger.categories.models import Category
from app.ledger.imports.models import Import, ImportStatus
from app.ledger.transactions.models import Transaction
from app.people.models import User, UserSettings
from app.unit_of_work import UnitOfWork
from tests.factories.people import make_person

SOON = timedelta(days=1)


def make_person_with_everything() -> User:
    """A person who has a row in every table."""
    person = make_person()
    with UnitOfWork(everybody=True) as uow:
        for rows in _rows_of(person):
            uow._session.add_all(rows)
            uow.flush()
        uow.audit.record("test.made", person)
        uow.commit()
    return person


def _rows_of(person: User) -> list[list[Base]]:
    """The rows, in an order in which each finds what it refers to."""
    later = datetime.now(UTC) + SOON
    account, category, device, session, budget = (new_id() for _ in range(5))
    who = {"user_id": person.id}
    return [
        [
            UserSettings(**who),
            Identity(**who, provider="google", subject=secrets.token_hex(8), profile={}),
            Device(**who, id=device, fingerprint=secrets.token_bytes(32), name="Laptop"),
            BackupCode(**who, code_hash=secrets.token_hex(8)),
            ApiKey(**who, name="Script", prefix=secrets.token_hex(6), key_hash=secrets.token_bytes(32), scopes=[]),
            OneTimeToken(
                **who,
                purpose=TokenPurpose.VERIFY_EMAIL,
                token_hash=secrets.token_bytes(32),
                payload={},
                expires_at=later,
            ),
            Account(**who, id=account, name="Cash", type=AccountType.CASH, currency="EUR"),
            Category(**who, id=category, name="Food"),
            Job(**who, kind="export"),
            IdempotencyKey(**who, key=secrets.token_hex(8), request_hash=secrets.token_bytes(32), expires_at=later),
            ActivityEvent(**who, feature="budgets", local_day=date(2026, 11, 1)),
            EngagementScore(**who, day=date(2026, 11, 1), version=1, score=Decimal(50)),
            SegmentMembership(**who, kind=SegmentKind.VALUE, segment="high", rules_version=1),
        ],
        [
            Session(
                **who,
                id=session,
                device_id=device,
                token_hash=secrets.token_bytes(32),
                auth_methods=["pwd"],
                idle_expires_at=later,
                expires_at=later,
            ),
            Import(**who, account_id=account, file_name="a.csv", mapping={}, status=ImportStatus.COMMITTED),
            Transaction(
                **who,
                account_id=account,
                category_id=category,
                amount=Decimal(-5),
                currency="EUR",
                booked_on=date(2026, 11, 1),
            ),
            Budget(
                **who,
                id=budget,
                category_id=category,
                name="Food",
                amount=Decimal(100),
                currency="EUR",
                period=BudgetPeriod.MONTHLY,
                starts_on=date(2026, 1, 1),
            ),
        ],
        [
            RefreshToken(**who, session_id=session, expires_at=later),
            BudgetAlert(
                **who, budget_id=budget, period_start=date(2026, 11, 1), percent=80, spent=Decimal(80), silent=True
            ),
        ],
    ]
