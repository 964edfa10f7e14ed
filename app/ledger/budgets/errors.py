"""What can go wrong with budgets."""

from app.core.errors import NotFound


class BudgetNotFound(NotFound):
    """No such budget, or not one of this person's."""

    code = "budget_not_found"
    title = "There is no such budget"
