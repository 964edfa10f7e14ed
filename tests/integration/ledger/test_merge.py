"""Merging categories, and undoing it: nothing is lost, and everything comes back."""

import json
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask

from app.core.errors import CofferError
from app.ledger.accounts.models import Account
from app.ledger.budgets.models import Budget, BudgetAlert, BudgetPeriod
from app.ledger.categories import merges
from app.ledger.categories.errors import (
    BudgetsCollide,
    CategoryCycle,
    CategoryNameTaken,
    CategoryNotFound,
    CategoryReadOnly,
    CategoryTooDeep,
    MergeNotFound,
    MergeNotUndoable,
)
from app.ledger.categories.merges import Merge, OnBudgetConflict
from app.ledger.categories.models import Category
from app.ledger.transactions import bulk
from app.ledger.transactions import service as transactions
from app.ledger.transactions.errors import CategoryUnusable
from app.ledger.transactions.models import Transaction
from tests.conftest import Database
from tests.counting import Counter
from tests.factories.budgets import change_budget, make_budget
from tests.factories.categories import change, delete, merge, new_category, new_chain, tree_of, undo
from tests.factories.ledger import (
    FIRST_DAY,
    bulk_rows,
    make_account,
    make_category,
    make_owner,
    make_transaction,
    uow_of,
)
from tests.integration.test_concurrency import at_once

# A merge and its undoing are changes like others: when a row was last changed is not what it holds.
LEDGER = ("categories", "transactions", "budgets", "budget_alerts", "accounts")


def dump(database: Database, owner: UUID) -> dict[str, list[Any]]:
    """All rows of the person's ledger, but for the times of their last change."""
    found = {}
    for table in LEDGER:
        rows = database.scalar(
            f"SELECT coalesce(jsonb_agg(to_jsonb(t) - 'updated_at' ORDER BY id)::text, '[]') FROM {table} t "
            "WHERE user_id = :owner",
            owner=owner,
        )
        found[table] = json.loads(rows)
    return found


def totals(database: Database, owner: UUID) -> tuple[Any, ...]:
    return database.row(
        "SELECT count(*), sum(amount), count(category_id), count(deleted_at) FROM transactions WHERE user_id = :owner",
        owner=owner,
    )


def budget_rows(database: Database) -> list[tuple[Any, ...]]:
    text = "SELECT jsonb_agg(jsonb_build_array(category_id, amount) ORDER BY id) FROM budgets"
    return [(UUID(category), Decimal(str(amount))) for category, amount in database.scalar(text) or []]


def test_the_target_gets_everything(owner: UUID, account: Account, database: Database) -> None:
    food, _ = new_chain(owner, "Food", "Coffee")
    meals = new_category(owner, "Meals")
    row = make_transaction(account, category_id=food.id)
    gone = make_transaction(account, category_id=food.id)
    transactions.delete_transaction(uow_of(owner), owner_id=owner, transaction_id=gone.id)
    make_budget(owner, food.id)
    before = totals(database, owner)
    done = merge(food, meals)
    assert tree_of(owner) == {"Meals": {"Coffee": {}}}
    assert (done.transactions, done.merged_categories, done.moved_categories) == (2, 1, 1)
    assert database.count(Transaction, Transaction.category_id == meals.id) == 2
    assert database.count(Budget, Budget.category_id == meals.id) == 1
    assert database.scalar("SELECT merged_into FROM categories WHERE id = :id", id=food.id) == meals.id
    assert totals(database, owner) == before
    assert row.id != gone.id


def test_namesakes_below_are_merged_too(owner: UUID, account: Account) -> None:
    food, drinks, _ = new_chain(owner, "Food", "Drinks", "Tea")
    new_category(owner, "Coffee", parent_id=drinks.id)
    meals, drinks_too, _ = new_chain(owner, "Meals", "DRINKS", "coffee")
    make_transaction(account, category_id=drinks.id)
    done = merge(food, meals)
    assert tree_of(owner) == {"Meals": {"DRINKS": {"coffee": {}, "Tea": {}}}}
    assert (done.merged_categories, done.moved_categories) == (3, 1)
    with uow_of(owner) as uow:
        assert uow.spending.count_transactions(owner, drinks_too.id) == 1


def test_a_category_of_the_system_may_be_the_target_and_not_the_source(owner: UUID, database: Database) -> None:
    system = make_category(None, "Food")
    below = make_category(None, "Coffee", system.id)
    mine, _ = new_chain(owner, "Mine", "COFFEE")
    with pytest.raises(CategoryReadOnly):
        merges.merge_categories(uow_of(owner), owner_id=owner, source_id=system.id, target_id=mine.id)
    before = dump(database, owner)
    done = merge(mine, system)
    assert tree_of(owner) == {"Food": {"Coffee": {}}}
    assert database.count(Category, Category.merged_into == below.id) == 1
    undo(owner, done)
    assert dump(database, owner) == before


def test_a_category_merges_into_the_one_above_it(owner: UUID, database: Database) -> None:
    food, _, _ = new_chain(owner, "Food", "Coffee", "Food")
    coffee = next(one for one in children(owner, food) if one.name == "Coffee")
    before = dump(database, owner)
    done = merge(coffee, food)
    assert tree_of(owner) == {"Food": {"Food": {}}}
    undo(owner, done)
    assert dump(database, owner) == before


def children(owner: UUID, category: Category) -> list[Category]:
    with uow_of(owner) as uow:
        return list(uow.categories.tree(owner).children(category.id))


def test_a_merge_is_refused_where_it_does_not_fit(owner: UUID) -> None:
    food, coffee = new_chain(owner, "Food", "Coffee")
    deep = new_chain(owner, "A", "B", "C", "D")
    theirs = new_category(make_owner(), "Theirs")
    for target, error in (
        (food, CategoryCycle),
        (coffee, CategoryCycle),
        (deep[3], CategoryTooDeep),
        (theirs, CategoryNotFound),
    ):
        with pytest.raises(error):
            merge(food, target)
    with pytest.raises(CategoryNotFound):
        merges.merge_categories(uow_of(owner), owner_id=owner, source_id=theirs.id, target_id=food.id)
    assert tree_of(owner) == {"A": {"B": {"C": {"D": {}}}}, "Food": {"Coffee": {}}}


def test_what_was_merged_is_gone_for_everything_else(owner: UUID, account: Account) -> None:
    food, meals = new_category(owner, "Food"), new_category(owner, "Meals")
    merge(food, meals)
    attempts: list[Callable[[], object]] = [
        lambda: change(food, name="X"),
        lambda: delete(food),
        lambda: merge(food, meals),
        lambda: new_category(owner, "Under", parent_id=food.id),
        lambda: make_budget(owner, food.id),
    ]
    for attempt in attempts:
        with pytest.raises(CategoryNotFound):
            attempt()
    with pytest.raises(CategoryUnusable):
        make_transaction(account, category_id=food.id)
    new_category(owner, "Food")


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        (OnBudgetConflict.KEEP_TARGET, ["40"]),
        (OnBudgetConflict.KEEP_SOURCE, ["100"]),
        (OnBudgetConflict.SUM, ["140"]),
    ],
)
def test_budgets_that_collide_need_a_choice(
    owner: UUID, database: Database, choice: OnBudgetConflict, left: list[str]
) -> None:
    food, meals = new_category(owner, "Food"), new_category(owner, "Meals")
    source = make_budget(owner, food.id, "100.00", alert_thresholds=[80, 100])
    target = make_budget(owner, meals.id, "40.00")
    make_budget(owner, food.id, "7.00", period=BudgetPeriod.WEEKLY)
    make_budget(owner, food.id, "8.00", currency="USD")
    with uow_of(owner) as uow:
        row = BudgetAlert(
            user_id=owner, budget_id=source.id, period_start=FIRST_DAY, percent=80, spent=Decimal(80), silent=False
        )
        uow.budget_alerts.add(row)
        uow.commit()
    with pytest.raises(BudgetsCollide) as refusal:
        merge(food, meals)
    shown = [
        {"id": str(one.id), "category_id": str(one.category_id), "name": "Food", "amount": str(one.amount)}
        for one in (source, target)
    ]
    conflict = {"period": "monthly", "currency": "EUR", "source": shown[0], "target": shown[1]}
    assert refusal.value.errors == {"budgets": [conflict]}
    before = dump(database, owner)
    done = merge(food, meals, on_budget_conflict=choice)
    amounts = sorted(amount for category, amount in budget_rows(database) if category == meals.id)
    assert amounts == sorted(Decimal(one) for one in [*left, "7", "8"])
    assert len(budget_rows(database)) == 3
    undo(owner, done)
    assert dump(database, owner) == before


def test_what_was_changed_since_stays_as_it_was_changed(owner: UUID, account: Account, database: Database) -> None:
    food, coffee = new_chain(owner, "Food", "Coffee")
    meals, other = new_category(owner, "Meals"), new_category(owner, "Other")
    moved, left = (make_transaction(account, category_id=food.id) for _ in range(2))
    budget = make_budget(owner, food.id, "10.00")
    target_budget = make_budget(owner, meals.id, "20.00")
    done = merge(food, meals, on_budget_conflict=OnBudgetConflict.SUM)
    transactions.change_transaction(
        uow_of(owner), owner_id=owner, transaction_id=moved.id, changes={"category_id": other.id}
    )
    since = make_transaction(account, category_id=meals.id)
    change(coffee, parent_id=other.id)
    change_budget(target_budget, amount="99.00")
    undo(owner, done)
    assert tree_of(owner) == {"Food": {}, "Meals": {}, "Other": {"Coffee": {}}}
    found = {row.id: row.category_id for row in rows_of(owner)}
    assert found == {moved.id: other.id, left.id: food.id, since.id: meals.id}
    assert sorted(budget_rows(database)) == sorted([(food.id, Decimal(10)), (meals.id, Decimal(99))])
    assert budget.id != target_budget.id


def rows_of(owner: UUID) -> list[Transaction]:
    return list(transactions.list_transactions(uow_of(owner), owner_id=owner, limit=200).items)


def test_a_merge_is_undone_once_and_by_its_owner(owner: UUID) -> None:
    food, meals = new_category(owner, "Food"), new_category(owner, "Meals")
    done = merge(food, meals)
    stranger = make_owner()
    with pytest.raises(MergeNotFound):
        undo(stranger, done)
    for unknown in (uuid4(),):
        with pytest.raises(MergeNotFound):
            undo(owner, Merge(unknown, food.id, meals.id, 0, 1, 0))
    assert undo(owner, done).id == food.id
    with pytest.raises(MergeNotUndoable):
        undo(owner, done)


def test_later_merges_are_undone_first(owner: UUID, account: Account, database: Database) -> None:
    food, meals, life = (new_category(owner, name) for name in ("Food", "Meals", "Life"))
    make_transaction(account, category_id=food.id)
    before = dump(database, owner)
    first = merge(food, meals)
    second = merge(meals, life)
    with pytest.raises(MergeNotUndoable):
        undo(owner, first)
    undo(owner, second)
    undo(owner, first)
    assert dump(database, owner) == before


def test_a_merge_cannot_be_undone_into_a_shape_that_may_not_be(owner: UUID) -> None:
    top, food, coffee = new_chain(owner, "Top", "Food", "Coffee")
    meals = new_category(owner, "Meals")
    done = merge(food, meals)
    change(top, parent_id=coffee.id)
    with pytest.raises(MergeNotUndoable):
        undo(owner, done)
    change(top, parent_id=None)
    new_category(owner, "food", parent_id=top.id)
    with pytest.raises(CategoryNameTaken):
        undo(owner, done)
    assert tree_of(owner) == {"Meals": {"Coffee": {}}, "Top": {"food": {}}}


def test_ten_thousand_transactions_take_no_more_statements(owner: UUID, account: Account, counter: Counter) -> None:
    few, many, target = (new_category(owner, name) for name in ("Few", "Many", "Target"))
    make_transaction(account, category_id=few.id)
    bulk.record_transactions(uow_of(owner), owner_id=owner, rows=bulk_rows(account, 10_000, category_id=many.id))
    with counter() as of_few:
        merge(few, target)
    with counter() as of_many:
        done = merge(many, target)
    assert len(of_many) == len(of_few) <= 15
    assert done.transactions == 10_000
    with counter() as of_undoing:
        undo(owner, done)
    assert len(of_undoing) <= 15
    with uow_of(owner) as uow:
        assert uow.spending.count_transactions(owner, many.id) == 10_000


def test_two_merges_at_once_make_no_cycle(committed: Flask) -> None:
    for _ in range(5):
        owner = make_owner()
        one, two = new_category(owner, "One"), new_category(owner, "Two")

        def merged(source: Category, target: Category) -> Callable[[], bool]:
            def done() -> bool:
                try:
                    merge(source, target)
                except CategoryNotFound:
                    return False
                return True

            return done

        assert sorted(at_once(committed, merged(one, two), merged(two, one))) == [False, True]
        assert len(tree_of(owner)) == 1


def test_nothing_is_written_on_a_category_that_is_being_merged(committed: Flask, committed_rows: Database) -> None:
    """Who looked at the category before the merge may write after it: the database refuses the row."""
    for _ in range(5):
        owner = make_owner()
        account = make_account(owner)
        source, target = new_category(owner, "Source"), new_category(owner, "Target")

        def write(account: Account, source: Category) -> Callable[[], object]:
            def written() -> None:
                for _ in range(10):
                    with suppress(CofferError):
                        make_transaction(account, category_id=source.id)

            return written

        def merged(source: Category, target: Category) -> Callable[[], object]:
            return lambda: merge(source, target)

        at_once(committed, write(account, source), write(make_account(owner), source), merged(source, target))
        assert committed_rows.count(Transaction, Transaction.category_id == source.id) == 0


def test_who_looked_before_a_merge_cannot_write_after_it(committed: Flask) -> None:
    owner = make_owner()
    account = make_account(owner)
    source, target = new_category(owner, "Source"), new_category(owner, "Target")
    with uow_of(owner) as uow:
        uow.categories.get_visible(source.id, owner_id=owner)
        merge(source, target)
        with pytest.raises(CategoryUnusable), uow.savepoint():
            uow.transactions.add(account.record(amount=Decimal(-1), booked_on=FIRST_DAY, category_id=source.id))
        with pytest.raises(CategoryNotFound), uow.savepoint():
            uow.budgets.add(
                Budget(
                    user_id=owner,
                    category_id=source.id,
                    name="Food",
                    amount=1,
                    currency="EUR",
                    period=BudgetPeriod.MONTHLY,
                    starts_on=FIRST_DAY,
                )
            )


def test_a_merge_is_undone_once_and_never_a_later_one_in_its_stead(owner: UUID, account: Account) -> None:
    source, target = new_category(owner, "Source"), new_category(owner, "Target")
    first = merge(source, target)
    undo(owner, first)
    kept = make_transaction(account, category_id=source.id)
    second = merge(source, target)
    with pytest.raises(MergeNotUndoable):
        undo(owner, first)
    undo(owner, second)
    with uow_of(owner) as uow:
        assert uow.transactions.get(kept.id).category_id == source.id
