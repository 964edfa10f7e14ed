"""People by tier and state, with the relations that are asked for and no others."""

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import joinedload

from app.people.cards import person_card
from app.people.models import User, UserSettings, UserStatus, UserTier
from app.people.service import update_profile
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


@pytest.mark.parametrize("written", ["anna@example.org", "ANNA@Example.ORG"])
def test_an_address_is_found_in_any_case_and_by_its_index(app: Flask, written: str) -> None:
    anna = make_person(email="anna@example.org")
    with UnitOfWork(everybody=True) as uow:
        found = uow.users.find_by_email(written)
        assert found is not None
        assert found.id == anna.id
        uow._session.execute(
            text(
                "INSERT INTO users (id, email, status, role, tier, timezone, language)"
                " SELECT gen_random_uuid(), n || '@example.net', 'active', 'user', 'free', 'UTC', 'en'"
                " FROM generate_series(1, 20000) n"
            )
        )
        uow._session.execute(text("ANALYZE users"))
        plan = "\n".join(uow._session.scalars(text(f"EXPLAIN SELECT * FROM users WHERE email = '{written.lower()}'")))
    assert "uq_users_address" in plan, plan
    assert "Seq Scan" not in plan


def test_a_card_comes_from_the_cache_until_the_person_changes_it(app: Flask) -> None:
    person = make_person(first_name="Anna")

    def uow() -> UnitOfWork:
        return UnitOfWork(acting_for=person.id)

    assert person_card(uow(), user_id=person.id).first_name == "Anna"
    with uow() as other:
        other._session.execute(text("UPDATE users SET first_name = 'Past the service'"))
        other.commit()
    assert person_card(uow(), user_id=person.id).first_name == "Anna", "read from the cache"
    changes = {"timezone": "Asia/Kolkata"}
    update_profile(uow(), user_id=person.id, changes=changes, check_version=lambda _: None)
    card = person_card(uow(), user_id=person.id)
    assert (card.first_name, card.timezone) == ("Past the service", "Asia/Kolkata")
