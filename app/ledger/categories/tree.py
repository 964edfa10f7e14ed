"""The categories that a person sees, as a tree. It has four levels and some hundred rows: it is held as a whole."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.ledger.categories.errors import CategoryCycle, CategoryNotFound, CategoryTooDeep
from app.ledger.categories.models import Category

MOST_LEVELS = 4


@dataclass(frozen=True, slots=True)
class Branch:
    """A category and those under it, by name."""

    category: Category
    children: Sequence["Branch"]


class CategoryTree:
    """Live categories: a person's own and the system's."""

    def __init__(self, categories: Iterable[Category]) -> None:
        self._by_id = {one.id: one for one in categories}
        self._children: defaultdict[UUID | None, list[Category]] = defaultdict(list)
        for one in sorted(self._by_id.values(), key=lambda one: (name_key(one.name), one.id)):
            self._children[one.parent_id].append(one)

    def __iter__(self) -> Iterator[Category]:
        return iter(self._by_id.values())

    def get(self, category_id: UUID) -> Category:
        """This category. Raises CategoryNotFound."""
        try:
            return self._by_id[category_id]
        except KeyError:
            raise CategoryNotFound from None

    def children(self, category_id: UUID | None) -> Sequence[Category]:
        """Those directly under this one, or the topmost, by name."""
        return self._children[category_id]

    def branches(self, category_id: UUID | None = None) -> list[Branch]:
        """Everything under this one, or all."""
        return [Branch(one, self.branches(one.id)) for one in self._children[category_id]]

    def path(self, category_id: UUID) -> list[UUID]:
        """From this one up to a topmost. Raises CategoryNotFound, CategoryCycle."""
        path: list[UUID] = []
        above: UUID | None = category_id
        while above is not None:
            if above in path:
                raise CategoryCycle
            path.append(above)
            above = self.get(above).parent_id
        return path

    def lies_under(self, category_id: UUID, other_id: UUID) -> bool:
        """Whether it is the other one or lies anywhere under it."""
        return other_id in self.path(category_id)

    def height(self, category_id: UUID) -> int:
        """How many levels it and those under it take."""
        return 1 + max((self.height(one.id) for one in self._children[category_id]), default=0)

    def check_place(self, category_id: UUID, parent_id: UUID | None) -> None:
        """Whether it may lie under this parent. Raises CategoryNotFound, CategoryCycle, CategoryTooDeep."""
        above = self.path(parent_id) if parent_id is not None else []
        if category_id in above:
            raise CategoryCycle
        check_levels(len(above) + self.height(category_id))


def check_heir(tree: CategoryTree, category_id: UUID, heir_id: UUID) -> None:
    """Whether all that lies under a category may come under this heir. Raises as `check_place`."""
    above = tree.path(heir_id)
    if category_id in above:
        raise CategoryCycle
    check_levels(len(above) + tree.height(category_id) - 1)


def check_levels(levels: int) -> None:
    """Refuse more levels than there may be. Raises CategoryTooDeep."""
    if levels > MOST_LEVELS:
        raise CategoryTooDeep


def name_key(name: str) -> str:
    """Names that have the same key are the same, as for the unique index."""
    return name.lower()
