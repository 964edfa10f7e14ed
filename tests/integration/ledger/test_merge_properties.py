"""Whatever the tree: merging loses nothing, and undoing it brings back every row as it was."""

from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.errors import CofferError
from app.ledger.budgets.models import BudgetPeriod
from app.ledger.categories.errors import CategoryCycle, CategoryTooDeep
from app.ledger.categories.merges import OnBudgetConflict
from app.ledger.categories.models import Category
from app.ledger.transactions import service as transactions
from tests.conftest import Database
from tests.factories.budgets import make_budget
from tests.factories.categories import merge, new_category, undo
from tests.factories.ledger import FIRST_DAY, make_account, make_owner, make_transaction, uow_of
from tests.integration.ledger.test_merge import dump, totals

# What a person may have: up to a dozen categories in a tree, transactions and budgets on them, and a pair to merge.
TREES = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["Food", "food", "Tea", "Rent", "Fun"])), min_size=2, max_size=12
)
ROWS = st.lists(st.tuples(st.integers(0, 11), st.integers(-9999, 9999).filter(bool), st.booleans()), max_size=12)
BUDGETS = st.lists(st.tuples(st.integers(0, 11), st.sampled_from(BudgetPeriod), st.integers(1, 500)), max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=TREES,
    rows=ROWS,
    budgets=BUDGETS,
    source=st.integers(0, 11),
    target=st.integers(0, 11),
    choice=st.sampled_from(OnBudgetConflict),
    deleted=st.booleans(),
)
def test_merging_and_undoing_is_the_identity(
    *,
    app: Flask,
    database: Database,
    shape: list[tuple[int, str]],
    rows: list[tuple[int, int, bool]],
    budgets: list[tuple[int, BudgetPeriod, int]],
    source: int,
    target: int,
    choice: OnBudgetConflict,
    deleted: bool,
) -> None:
    """Whatever the tree: totals and numbers stay as they were, and undoing brings back every row as it was."""
    owner = make_owner()
    account = make_account(owner)
    made: list[Category] = []
    for above, name in shape:
        with suppress(CofferError):
            made.append(new_category(owner, name, parent_id=made[above - 1].id if 0 < above <= len(made) else None))
    for where, cents, pending in rows:
        row = make_transaction(
            account,
            Decimal(cents) / 100,
            category_id=made[where % len(made)].id,
            booked_on=FIRST_DAY + timedelta(days=where),
            pending=pending,
        )
        if deleted:
            transactions.delete_transaction(uow_of(owner), owner_id=owner, transaction_id=row.id)
    for where, period, amount in budgets:
        make_budget(owner, made[where % len(made)].id, amount, period=period, alert_thresholds=[50, 100])
    before, sums = dump(database, owner), totals(database, owner)
    try:
        done = merge(made[source % len(made)], made[target % len(made)], on_budget_conflict=choice)
    except (CategoryCycle, CategoryTooDeep):
        assert dump(database, owner) == before
        return
    assert totals(database, owner) == sums
    orphans = "SELECT count(*) FROM {} t JOIN categories c ON c.id = t.category_id WHERE c.merged_into IS NOT NULL"
    assert [database.scalar(orphans.format(table)) for table in ("transactions", "budgets")] == [0, 0]
    undo(owner, done)
    assert dump(database, owner) == before
