"""What other features often need to know of a person: from the cache."""

from dataclasses import asdict, dataclass
from datetime import timedelta
from uuid import UUID

from app.core.cache import Cached, Entry
from app.core.extensions import cached
from app.unit_of_work import UnitOfWork

_CARDS = Cached("people.card", shape=1, kept_for=timedelta(minutes=10))


@dataclass(frozen=True, slots=True)
class PersonCard:
    """How to speak to a person, and which day it is where they are."""

    first_name: str | None
    language: str
    timezone: str


def card_of(user_id: UUID) -> Entry:
    """The cache's entry; whoever changes what is on the card says `uow.outdate(card_of(…))`."""
    return _CARDS.of(user_id)


def person_card(uow: UnitOfWork, *, user_id: UUID) -> PersonCard:
    """The person's card. Opens the block itself when the cache has none. Raises PersonNotFound."""

    def load() -> dict[str, str | None]:
        with uow:
            user = uow.users.get(user_id)
        return asdict(PersonCard(user.first_name, user.language, user.timezone))

    return PersonCard(**cached(card_of(user_id), load))
