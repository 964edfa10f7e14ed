"""Categories: their tree, their names, what they are used for, and how they go."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.core.errors import Stale
from app.ledger.accounts.models import Account
from app.ledger.budgets.models import Budget
from app.ledger.categories import service
from app.ledger.categories.defaults import DEFAULTS, ensure_system_categories
from app.ledger.categories.errors import (
    BudgetsCollide,
    CategoryCycle,
    CategoryInUse,
    CategoryNameTaken,
    CategoryNotFound,
    CategoryReadOnly,
    CategoryTooDeep,
)
from app.ledger.categories.models import Category
from app.ledger.categories.usage import Figure
from app.ledger.errors import FieldsInvalid
from app.ledger.transactions.models import Transaction
from app.unit_of_work import UnitOfWork
from tests.conftest import Database
from tests.counting import Counter
from tests.factories.budgets import make_budget
from tests.factories.categories import change, delete, merge, new_category, new_chain, tree_of
from tests.factories.ledger import make_account, make_category, make_owner, make_transaction, uow_of
from tests.integration.test_concurrency import at_once


def refused_to_change(category: Category, owner_id: UUID, **changes: Any) -> type[Exception]:
    with pytest.raises(Exception) as refusal:
        service.change_category(uow_of(owner_id), owner_id=owner_id, category_id=category.id, changes=changes)
    return refusal.type


def test_the_fields_take_their_normal_form(owner: UUID) -> None:
    made = new_category(owner, "  Cafe\u0301   and  bars ", icon="coffee-cup", color="#a1b2c3")
    assert (made.name, made.icon, made.color) == ("Café and bars", "coffee-cup", "#A1B2C3")
    assert not made.is_system


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": "   "}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"name": "bell\a"}, "name"),
        ({"color": "red"}, "color"),
        ({"color": "#12345G"}, "color"),
        ({"color": "#1234567"}, "color"),
        ({"icon": "Coffee Cup"}, "icon"),
        ({"icon": "x" * 41}, "icon"),
        ({"parent_id": "top"}, "parent_id"),
    ],
)
def test_fields_that_break_a_rule_are_named(owner: UUID, fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(FieldsInvalid) as refusal:
        new_category(owner, **{"name": "Food"} | fields)
    assert set(refusal.value.errors or {}) == {wrong}


def test_the_tree_has_own_and_system_categories_by_name(owner: UUID) -> None:
    top = make_category(None, "Food")
    make_category(None, "Groceries", top.id)
    new_category(owner, "coffee", parent_id=top.id)
    new_category(owner, "Art")
    new_category(make_owner(), "Somebody else's", parent_id=top.id)
    assert tree_of(owner) == {"Art": {}, "Food": {"coffee": {}, "Groceries": {}}}


def test_the_tree_costs_one_statement(owner: UUID, counter: Counter) -> None:
    new_chain(owner, "A", "B", "C", "D")
    # The system's come from the cache after this.
    tree_of(owner)
    with counter() as few:
        tree_of(owner)
    for number in range(20):
        new_category(owner, f"More {number}")
    with counter() as many:
        tree_of(owner)
    assert len(few) == len(many)


def test_siblings_differ_in_their_names_capitals_aside(owner: UUID) -> None:
    food = new_category(owner, "Food")
    with pytest.raises(CategoryNameTaken):
        new_category(owner, "FOOD")
    other = new_category(owner, "food", parent_id=food.id)
    with pytest.raises(CategoryNameTaken):
        change(other, parent_id=None)
    new_category(make_owner(), "Food")
    make_category(None, "Food")


def test_there_are_four_levels(owner: UUID) -> None:
    chain = new_chain(owner, "A", "B", "C", "D")
    with pytest.raises(CategoryTooDeep):
        new_category(owner, "E", parent_id=chain[-1].id)
    other = new_chain(owner, "X", "Y")
    with pytest.raises(CategoryTooDeep):
        change(other[0], parent_id=chain[2].id)
    change(other[0], parent_id=chain[1].id)
    assert tree_of(owner) == {"A": {"B": {"C": {"D": {}}, "X": {"Y": {}}}}}


def test_nothing_comes_to_lie_under_itself(owner: UUID) -> None:
    top, middle, low = new_chain(owner, "A", "B", "C")
    for parent in (top, middle, low):
        with pytest.raises(CategoryCycle):
            change(top, parent_id=parent.id)


def test_a_change_is_told_of_and_needs_the_version(owner: UUID, database: Database) -> None:
    food = new_category(owner, "Food")
    change(food, name="Meals", color="#00ff00")
    assert database.scalar("SELECT changes FROM audit_logs WHERE action = 'category.changed'") == {
        "name": ["Food", "Meals"],
        "color": [None, "#00FF00"],
    }

    def stale(_: object) -> None:
        raise Stale

    with pytest.raises(Stale):
        service.change_category(
            uow_of(owner), owner_id=owner, category_id=food.id, changes={"name": "X"}, check_version=stale
        )
    with pytest.raises(FieldsInvalid):
        change(food, user_id=None)


def test_somebody_elses_category_is_not_there(owner: UUID, account: Account) -> None:
    theirs = new_category(make_owner(), "Theirs")
    mine = new_category(owner, "Mine")
    for attempt in attempts_on(owner, mine, theirs):
        with pytest.raises(CategoryNotFound):
            attempt()
    with UnitOfWork(everybody=True) as uow, pytest.raises(CategoryNotFound):
        uow.categories.get_visible(theirs.id, owner_id=owner)


def attempts_on(owner: UUID, mine: Category, theirs: Category) -> list[Callable[[], object]]:
    uow = uow_of(owner)
    return [
        lambda: service.get_category(uow, owner_id=owner, category_id=theirs.id),
        lambda: service.create_category(uow, owner_id=owner, name="Under", parent_id=theirs.id),
        lambda: service.change_category(uow, owner_id=owner, category_id=theirs.id, changes={"name": "X"}),
        lambda: service.change_category(uow, owner_id=owner, category_id=mine.id, changes={"parent_id": theirs.id}),
        lambda: service.delete_category(uow, owner_id=owner, category_id=theirs.id),
        lambda: service.delete_category(uow, owner_id=owner, category_id=mine.id, replacement_id=theirs.id),
        lambda: service.delete_category(uow, owner_id=owner, category_id=uuid4()),
    ]


def test_categories_of_the_system_are_read_only(owner: UUID, database: Database) -> None:
    system = make_category(None, "Food")
    assert refused_to_change(system, owner, name="Mine") is CategoryReadOnly
    with pytest.raises(CategoryReadOnly):
        service.delete_category(uow_of(owner), owner_id=owner, category_id=system.id)
    with uow_of(owner) as uow:
        for statement in ("UPDATE categories SET name = 'Mine'", "DELETE FROM categories"):
            assert uow._session.execute(text(statement)).rowcount == 0  # type: ignore[attr-defined]
        with pytest.raises(ProgrammingError, match="row-level security"), uow.savepoint():
            uow._session.execute(
                text("INSERT INTO categories (id, name, is_system) VALUES (gen_random_uuid(), 'Mine', true)")
            )
        uow.commit()
    assert database.scalar("SELECT name FROM categories") == "Food"


def test_usage_is_counted_by_itself_and_with_those_below(owner: UUID, account: Account, counter: Counter) -> None:
    food, coffee = new_chain(owner, "Food", "Coffee")
    dollars = make_account(owner, currency="USD")
    make_transaction(account, "-10.00", category_id=food.id, booked_on=date(2024, 1, 5))
    make_transaction(account, "-2.50", category_id=coffee.id, booked_on=date(2024, 1, 1))
    make_transaction(account, "-2.50", category_id=coffee.id, booked_on=date(2024, 3, 1), pending=True)
    make_transaction(dollars, "-4.00", category_id=coffee.id, booked_on=date(2024, 2, 1))
    make_transaction(make_account(make_owner()), "-99.00")
    with counter() as counted:
        usage = service.count_usage(uow_of(owner), owner_id=owner)
    assert len([one for one in counted.texts if "transactions" in one]) == 1
    assert usage[food.id].own == Figure(1, {"EUR": Decimal(-10)}, date(2024, 1, 5), date(2024, 1, 5))
    both = Figure(4, {"EUR": Decimal(-15), "USD": Decimal(-4)}, date(2024, 1, 1), date(2024, 3, 1))
    assert usage[food.id].with_descendants == both
    assert usage[coffee.id].own == usage[coffee.id].with_descendants
    assert set(usage) == {food.id, coffee.id}


def test_what_nobody_uses_is_deleted(owner: UUID) -> None:
    delete(new_category(owner))
    assert tree_of(owner) == {}


def test_what_is_used_is_deleted_only_with_a_word_on_the_rest(owner: UUID, account: Account) -> None:
    food, _ = new_chain(owner, "Food", "Coffee")
    make_transaction(account, category_id=food.id)
    make_budget(owner, food.id)
    with pytest.raises(CategoryInUse) as refusal:
        delete(food)
    assert refusal.value.errors == {"transactions": 1, "budgets": 1, "children": 1}
    with pytest.raises(FieldsInvalid):
        delete(food, replacement_id=new_category(owner, "Other").id, uncategorise=True)


def test_uncategorised_transactions_stay_and_children_move_up(
    owner: UUID, account: Account, database: Database
) -> None:
    top, food, coffee = new_chain(owner, "Top", "Food", "Coffee")
    row = make_transaction(account, category_id=food.id)
    make_budget(owner, food.id)
    delete(food, uncategorise=True)
    assert tree_of(owner) == {"Top": {"Coffee": {}}}
    assert database.scalar("SELECT category_id FROM transactions WHERE id = :id", id=row.id) is None
    assert database.count(Budget) == 0
    assert (top.id, coffee.id) != (food.id, food.id)


def test_a_replacement_gets_all(owner: UUID, account: Account, database: Database) -> None:
    food, _ = new_chain(owner, "Food", "Coffee")
    other = new_category(owner, "Other")
    make_transaction(account, category_id=food.id)
    make_budget(owner, food.id)
    delete(food, replacement_id=other.id)
    assert tree_of(owner) == {"Other": {"Coffee": {}}}
    assert database.count(Transaction, Transaction.category_id == other.id) == 1
    assert database.count(Budget, Budget.category_id == other.id) == 1


def test_a_replacement_is_refused_where_it_does_not_fit(owner: UUID) -> None:
    food, coffee = new_chain(owner, "Food", "Coffee")
    deep = new_chain(owner, "A", "B", "C", "D")
    for replacement, error in ((food, CategoryCycle), (coffee, CategoryCycle), (deep[3], CategoryTooDeep)):
        with pytest.raises(error):
            delete(food, replacement_id=replacement.id)
    delete(food, replacement_id=deep[2].id)
    assert tree_of(owner) == {"A": {"B": {"C": {"Coffee": {}, "D": {}}}}}
    one, other = new_category(owner, "One"), new_category(owner, "Other")
    make_budget(owner, one.id)
    make_budget(owner, other.id)
    with pytest.raises(BudgetsCollide):
        delete(one, replacement_id=other.id)


def test_with_a_category_go_those_merged_into_it(owner: UUID, database: Database) -> None:
    """Their rows would come to life again: the mark is a foreign key that the deletion empties."""
    one, under_one = new_chain(owner, "One", "Same")
    two, namesake = new_chain(owner, "Two", "Same")
    merge(one, two)
    delete(two, uncategorise=True)
    assert tree_of(owner) == {"Same": {}}
    assert database.count(Category, Category.id == one.id) == 0
    assert database.count(Category, Category.id == under_one.id, Category.merged_into == namesake.id) == 1
    delete(namesake)
    assert database.count(Category) == 0


def test_the_defaults_are_made_once(app: Flask, owner: UUID, database: Database) -> None:
    first = ensure_system_categories(UnitOfWork(everybody=True))
    assert first == sum(1 + len(group.children) for group in DEFAULTS)
    assert (len(DEFAULTS), first - len(DEFAULTS)) == (15, 64)
    database.execute("UPDATE categories SET name = 'FOOD', color = NULL WHERE name = 'Food'")
    database.execute("DELETE FROM categories WHERE name = 'Coffee'")
    assert ensure_system_categories(UnitOfWork(everybody=True)) == 1
    assert database.scalar("SELECT count(*) FROM categories") == first
    with uow_of(owner) as uow:
        assert len(uow.categories.list_system_categories()) == first
        known = uow.categories.list_system_categories()
        assert len(list(uow.categories.tree(owner, system=known))) == first


def test_two_moves_at_once_make_no_cycle(committed: Flask, committed_rows: Database) -> None:
    for _ in range(5):
        owner = make_owner()
        one, two = new_category(owner, "One"), new_category(owner, "Two")

        def move(category: Category, parent: Category) -> Callable[[], bool]:
            def moved() -> bool:
                try:
                    change(category, parent_id=parent.id)
                except CategoryCycle:
                    return False
                return True

            return moved

        assert sorted(at_once(committed, move(one, two), move(two, one))) == [False, True]


def test_the_descendants_serve_other_statements(owner: UUID) -> None:
    top, _, low = new_chain(owner, "A", "B", "C")
    new_category(owner, "Z")
    with uow_of(owner) as uow:
        found = uow._session.query(uow.categories.descendants(top.id).c.id).all()
    assert len(found) == 3
    assert low.id in {one for (one,) in found}
