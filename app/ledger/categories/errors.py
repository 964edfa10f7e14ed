"""What can go wrong with categories."""

from app.core.db_errors import refused_by
from app.core.errors import Conflict, Forbidden, NotFound


@refused_by("fk_budgets_category_id", "fk_budgets_category_owner", "fk_categories_parent_id")
class CategoryNotFound(NotFound):
    """No such category, one of another person's, or one that was merged into another."""

    code = "category_not_found"
    title = "There is no such category"


class CategoryReadOnly(Forbidden):
    """The system's categories are the same for all, and people cannot change them."""

    code = "category_read_only"
    title = "Categories of the system cannot be changed"
    detail = "Make a category of your own; it may lie under one of the system."


@refused_by("uq_categories_sibling_name")
class CategoryNameTaken(Conflict):
    """Categories with the same parent differ in their names, capitals aside."""

    code = "category_name_taken"
    title = "There is a category of this name already"
    detail = "Choose another name or another parent, or merge the two."


class CategoryCycle(Conflict):
    """A category would come to lie under itself, or was to be merged into one below it."""

    code = "category_cycle"
    title = "A category cannot lie under itself"
    detail = "Choose a category that does not lie under this one."


class CategoryTooDeep(Conflict):
    """The tree would have more levels than it may."""

    code = "category_too_deep"
    title = "The categories would be nested too deeply"
    detail = "There are at most four levels. Choose a parent further up."


class CategoryInUse(Conflict):
    """A category that something depends on was to be deleted without saying what becomes of that."""

    code = "category_in_use"
    title = "The category is in use"
    detail = "`errors` counts what depends on it. Name a `replacement_id`, or send `uncategorise=true`."


class BudgetsCollide(Conflict):
    """Both categories have a budget of the same period and currency."""

    code = "budgets_collide"
    title = "Both categories have budgets of the same period and currency"
    detail = "`errors` lists them. Merge with `on_budget_conflict`: `keep_target`, `keep_source` or `sum`."


class MergeNotFound(NotFound):
    """No such merge, or not one of this person's."""

    code = "merge_not_found"
    title = "There is no such merge"


class MergeNotUndoable(Conflict):
    """The categories of a merge are not as it left them."""

    code = "merge_not_undoable"
    title = "The merge cannot be undone"
    detail = "It was undone before, or its categories were merged again or deleted since. Undo the later merge first."
