"""People by tier and state, with the relations that are asked for and no others."""

import pytest
from flask import Flask
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import joinedload

from app.people.models import User, UserSettings, UserStatus, UserTier
from app.unit_of_work import UnitOfWork
from tests.factories.people import make_person


def test_active_people_of_a_tier_with_what_will_be_shown(app: Flask) -> None:
    people = [make_person() for _ in range(3)]
    make_person(status=UserStatus.DISABLED)
    with UnitOfWork(everybody=True) as uow:
        uow.users.update(uow.users.get(people[0].id), {"tier": UserTier.PREMIUM})
        uow._session.add(UserSettings(user_id=people[0].id))
        uow.commit()
    with UnitOfWork(everybody=True) as uow:
        assert uow.users.list_active().total == 3
        page = uow.users.list_active(tier=UserTier.PREMIUM, options=[joinedload(User.settings)])
    (premium,) = page.items
    assert premium.id == people[0].id
    assert premium.settings is not None
    assert premium.settings.currency == "EUR"


def test_a_relation_that_was_not_asked_for_is_an_error_and_not_a_statement_a_row(app: Flask) -> None:
    person = make_person()
    with UnitOfWork(everybody=True) as uow, pytest.raises(InvalidRequestError, match="raise"):
        _ = uow.users.get(person.id).settings
