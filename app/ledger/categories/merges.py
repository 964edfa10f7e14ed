"""Merging one category into another, and undoing it.

Everything moves in a fixed number of statements, however many transactions there are. The audit row holds what undoing
needs. The ids of the transactions that moved are in it as well: without them nobody could tell a transaction that moved
from one that the target had before, and a mark on the transactions would be a write to each of them that the audit log
does not guard. They are kept as one string of 16 bytes each, in base64: 22 characters a transaction, and never parsed
by the database.
"""

import enum
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.audit.models import AuditLog
from app.audit.repository import audit_row
from app.ledger.budgets.alerts import record_crossings
from app.ledger.budgets.collisions import collisions, listed
from app.ledger.budgets.models import Budget
from app.ledger.categories.errors import (
    BudgetsCollide,
    CategoryCycle,
    CategoryNotFound,
    CategoryReadOnly,
    CategoryTooDeep,
    MergeNotFound,
    MergeNotUndoable,
)
from app.ledger.categories.models import Category
from app.ledger.categories.tree import CategoryTree, check_levels, name_key
from app.ledger.money import quantised
from app.ledger.owned import once_more
from app.unit_of_work import UnitOfWork

MERGED = "category.merged"
UNDONE = "category.merge_undone"
_ID_BYTES = 16


class OnBudgetConflict(enum.StrEnum):
    """What becomes of two budgets of the same period and currency: one goes, or the target's gets both amounts."""

    KEEP_TARGET = "keep_target"
    KEEP_SOURCE = "keep_source"
    SUM = "sum"


@dataclass(frozen=True, slots=True)
class Merge:
    """What a merge did; `audit_id` undoes it."""

    audit_id: UUID
    source_id: UUID
    target_id: UUID
    transactions: int
    # The source, and every one below it that had a namesake below the target.
    merged_categories: int
    moved_categories: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """Who is merged into whom, and who gets which new parent."""

    targets: dict[UUID, UUID] = field(default_factory=dict)
    old_parents: dict[UUID, UUID] = field(default_factory=dict)
    new_parents: dict[UUID, UUID] = field(default_factory=dict)

    @property
    def touched(self) -> set[UUID]:
        """The categories whose spending is another afterwards, apart from those above them."""
        return {*self.targets.values(), *self.new_parents.values()}


@once_more
def merge_categories(
    uow: UnitOfWork,
    *,
    owner_id: UUID,
    source_id: UUID,
    target_id: UUID,
    on_budget_conflict: OnBudgetConflict | None = None,
) -> Merge:
    """Let the target have all that the source has: transactions, budgets, and the categories under it.

    Categories of the same name under both are merged too, and so on below. The source's row stays, out of sight.

    Raises CategoryNotFound, CategoryReadOnly (for the source), CategoryCycle when the target lies under the source,
    CategoryTooDeep, and BudgetsCollide when there is a conflict and no choice.
    """
    with uow:
        uow.categories.lock_tree(owner_id)
        tree = uow.categories.tree(owner_id)
        source = tree.get(source_id)
        if source.user_id is None:
            raise CategoryReadOnly
        if tree.lies_under(target_id, source_id):
            raise CategoryCycle
        plan = _plan(tree, source_id, target_id)
        uow.categories.lock_rows(plan.targets)
        moved = uow.spending.move_transactions(owner_id, plan.targets)
        budgets = _merge_budgets(uow, owner_id, plan.targets, on_budget_conflict)
        uow.categories.mark_merged(plan.targets, owner_id=owner_id)
        uow.categories.move(plan.new_parents, owner_id=owner_id)
        alerts = record_crossings(uow, owner_id=owner_id, category_ids=plan.touched, silent=True)
        row = audit_row(
            MERGED,
            source,
            changes={"merged_into": [None, str(target_id)]},
            details={
                "targets": _as_text(plan.targets),
                "old_parents": _as_text(plan.old_parents),
                "new_parents": _as_text(plan.new_parents),
                "transactions": {str(category_id): one.packed_ids for category_id, one in moved.items()},
                "budgets": budgets,
                "alerts": [str(one.id) for one in alerts],
            },
        )
        uow.audit.add(row)
        uow.commit()
    return Merge(
        audit_id=row.id,
        source_id=source_id,
        target_id=target_id,
        transactions=sum(one.transactions for one in moved.values()),
        merged_categories=len(plan.targets),
        moved_categories=len(plan.new_parents),
    )


@once_more
def undo_merge(uow: UnitOfWork, *, owner_id: UUID, audit_id: UUID) -> Category:
    """Put everything back where it was before a merge. Returns the category that is there again.

    What the person has changed since stays as they changed it: a transaction that got another category, a category
    that was moved elsewhere, an amount of a budget. Transactions that were made since stay with the target.

    Raises MergeNotFound; MergeNotUndoable; CategoryNameTaken when another has its name and place by now.
    """
    with uow:
        uow.categories.lock_tree(owner_id)
        merge, details = _find_merge(uow, owner_id, audit_id)
        targets = _as_ids(details["targets"])
        tree = uow.categories.tree(owner_id)
        if not set(targets.values()) <= {one.id for one in tree}:
            raise MergeNotUndoable
        if uow.categories.unmark_merged(targets, owner_id=owner_id) != len(targets):
            raise MergeNotUndoable
        _move_children_back(uow, owner_id, details)
        for source_id, packed in details["transactions"].items():
            source = UUID(source_id)
            uow.spending.take_back_transactions(owner_id, _unpacked(packed), source=source, target=targets[source])
        _undo_budgets(uow, owner_id, details["budgets"])
        uow.budget_alerts.remove_all([UUID(one) for one in details["alerts"]], owner_id=owner_id)
        tree = uow.categories.tree(owner_id)
        _check_shape(tree)
        restored = tree.get(merge)
        uow.audit.record(UNDONE, restored, merge=str(audit_id))
        uow.commit()
    return restored


def _plan(tree: CategoryTree, source_id: UUID, target_id: UUID) -> _Plan:
    plan = _Plan()
    for source, target in _namesakes(tree, source_id, target_id):
        plan.targets[source] = target
    for source, target in plan.targets.items():
        for child in tree.children(source):
            if child.id not in plan.targets:
                check_levels(len(tree.path(target)) + tree.height(child.id))
                plan.old_parents[child.id] = source
                plan.new_parents[child.id] = target
    return plan


def _namesakes(tree: CategoryTree, source_id: UUID, target_id: UUID) -> Iterator[tuple[UUID, UUID]]:
    """The two, and each two of one name below them; where the system and the person have one, it is the person's."""
    yield source_id, target_id
    below_target = sorted(tree.children(target_id), key=lambda one: one.user_id is not None)
    by_name = {name_key(one.name): one.id for one in below_target if one.id != source_id}
    for child in tree.children(source_id):
        namesake = by_name.get(name_key(child.name))
        if namesake is not None:
            yield from _namesakes(tree, child.id, namesake)


def _merge_budgets(
    uow: UnitOfWork, owner_id: UUID, targets: Mapping[UUID, UUID], choice: OnBudgetConflict | None
) -> dict[str, Any]:
    """Move the sources' budgets, or what the choice says. Returns what undoing needs."""
    by_category: defaultdict[UUID, list[Budget]] = defaultdict(list)
    for budget in uow.budgets.lock_of_categories(owner_id, {*targets, *targets.values()}):
        by_category[budget.category_id].append(budget)
    pairs = [(by_category[source], by_category[target], target) for source, target in targets.items()]
    colliding = [pair for ours, theirs, _ in pairs for pair in collisions(ours, theirs)]
    if colliding and choice is None:
        raise BudgetsCollide(errors={"budgets": listed(colliding)})
    gone: list[UUID] = []
    amounts: dict[str, list[str]] = {}
    for one, other in colliding:
        if choice is OnBudgetConflict.KEEP_SOURCE:
            gone.append(other.id)
            continue
        gone.append(one.id)
        if choice is OnBudgetConflict.SUM and gone.count(one.id) == 1:
            before = amounts.setdefault(str(other.id), [str(other.amount), ""])
            other.amount = quantised(other.amount + one.amount, other.currency)
            before[1] = str(other.amount)
    moved: dict[str, list[str]] = {}
    for ours, _, target in pairs:
        going = [one for one in ours if one.id not in gone]
        for one in going:
            moved[str(one.id)] = [str(one.category_id), str(target)]
        if going:
            uow.budgets.move_to_category([one.id for one in going], target, owner_id=owner_id)
    uow.flush()
    return {"moved": moved, "amounts": amounts, "removed": uow.budgets.take_out(set(gone), owner_id=owner_id)}


def _undo_budgets(uow: UnitOfWork, owner_id: UUID, done: Mapping[str, Any]) -> None:
    back: defaultdict[tuple[UUID, UUID], list[UUID]] = defaultdict(list)
    for budget_id, (source, target) in done["moved"].items():
        back[UUID(source), UUID(target)].append(UUID(budget_id))
    for (source, target), budget_ids in back.items():
        uow.budgets.move_to_category(budget_ids, source, owner_id=owner_id, only_from=target)
    for budget_id, (before, after) in done["amounts"].items():
        uow.budgets.change_amount(UUID(budget_id), owner_id=owner_id, old=after, new=before)
    uow.budgets.put_back(done["removed"], owner_id=owner_id)


def _find_merge(uow: UnitOfWork, owner_id: UUID, audit_id: UUID) -> tuple[UUID, dict[str, Any]]:
    if uow.audit.has_undone(audit_id, action=UNDONE, owner_id=owner_id):
        # Once only: a later merge of the same category is not this one's to take back.
        raise MergeNotUndoable
    row: AuditLog | None = uow.audit.find(audit_id)
    if row is None or row.action != MERGED or row.user_id != owner_id or row.entity_id is None or row.details is None:
        raise MergeNotFound
    return row.entity_id, row.details


def _move_children_back(uow: UnitOfWork, owner_id: UUID, details: Mapping[str, Any]) -> None:
    """Those that are where the merge put them."""
    tree = uow.categories.tree(owner_id)
    new_parents = _as_ids(details["new_parents"])
    there = {one.id for one in tree if new_parents.get(one.id) == one.parent_id and one.id in new_parents}
    back = {child: parent for child, parent in _as_ids(details["old_parents"]).items() if child in there}
    uow.categories.move(back, owner_id=owner_id)


def _check_shape(tree: CategoryTree) -> None:
    """Whether what has come back still fits to what was changed since."""
    try:
        for one in tree:
            check_levels(len(tree.path(one.id)))
    except (CategoryCycle, CategoryNotFound, CategoryTooDeep) as error:
        raise MergeNotUndoable from error


def _as_text(ids: Mapping[UUID, UUID]) -> dict[str, str]:
    return {str(one): str(other) for one, other in ids.items()}


def _as_ids(text: Mapping[str, str]) -> dict[UUID, UUID]:
    return {UUID(one): UUID(other) for one, other in text.items()}


def _unpacked(packed: str) -> Sequence[UUID]:
    raw = b64decode(packed)
    return [UUID(bytes=raw[start : start + _ID_BYTES]) for start in range(0, len(raw), _ID_BYTES)]
