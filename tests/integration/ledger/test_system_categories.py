"""The system's categories come from the cache, and are what the database has."""

from flask import Flask
from sqlalchemy import event

from app.core.extensions import db
from app.ledger.categories import defaults, service
from app.ledger.categories.models import Category
from app.ledger.categories.tree import Branch
from app.unit_of_work import UnitOfWork
from tests.factories.people import make_person


def flat(branches: list[Branch]) -> list[dict[str, object]]:
    return [one for branch in branches for one in (branch.category.as_dict(), *flat(list(branch.children)))]


def test_the_tree_is_the_same_from_the_cache(app: Flask) -> None:
    defaults.ensure_system_categories(UnitOfWork(everybody=True))
    person = make_person()
    uow = UnitOfWork(acting_for=person.id)
    with uow:
        direct = flat(uow.categories.tree(person.id).branches())
    first, second = (flat(service.list_category_tree(uow, owner_id=person.id)) for _ in range(2))
    assert len(direct) > 50
    assert first == second == direct


def test_many_reads_ask_for_them_once(app: Flask) -> None:
    defaults.ensure_system_categories(UnitOfWork(everybody=True))
    person = make_person()
    asked: list[str] = []

    def note(*arguments: object) -> None:
        asked.append(str(arguments[2]))

    event.listen(db.engine, "before_cursor_execute", note)
    for _ in range(10):
        service.list_category_tree(UnitOfWork(acting_for=person.id), owner_id=person.id)
    event.remove(db.engine, "before_cursor_execute", note)
    about = [statement for statement in asked if "FROM categories" in statement]
    assert len([one for one in about if "user_id IS NULL" in one]) == 1
    assert len(about) == 11


def test_a_new_one_shows_at_once(app: Flask) -> None:
    person = make_person()
    uow = UnitOfWork(acting_for=person.id)
    assert service.list_category_tree(uow, owner_id=person.id) == []
    added = defaults.ensure_system_categories(UnitOfWork(everybody=True))
    assert len(flat(service.list_category_tree(uow, owner_id=person.id))) == added
    with UnitOfWork(everybody=True) as looking:
        assert all(isinstance(one, Category) for one in looking.categories.list_system_categories())
