"""Every query over people."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.base import ExecutableOption

from app.core.pages import USUAL_PER_PAGE, NumberedPage
from app.core.repository import Repository
from app.people.errors import PersonNotFound
from app.people.models import User, UserRole, UserStatus, UserTier


class UserRepository(Repository[User]):
    """People. Addresses are given in their normal form."""

    model = User
    not_found = PersonNotFound
    fields = {  # noqa: RUF012  # as the base declares it
        "email": User.email,
        "status": User.status,
        "role": User.role,
        "tier": User.tier,
        "created": User.created_at,
    }

    def find_by_email(self, email: str) -> User | None:
        """Who has this address, in any case of its letters."""
        # Lowered here and not in SQL: lower() is not leakproof, so its index could not be used under row security.
        return self._session.scalar(select(User).where(User.email == email.lower()))

    def get_by_email(self, email: str) -> User:
        """Who has this address. Raises PersonNotFound."""
        found = self.find_by_email(email)
        if found is None:
            raise PersonNotFound
        return found

    def list_active(
        self,
        *,
        tier: UserTier | None = None,
        options: Sequence[ExecutableOption] = (),
        page: int = 1,
        per_page: int = USUAL_PER_PAGE,
    ) -> NumberedPage[User]:
        """People who may come in, of one tier or of all, newest first; `options` load what will be shown of each."""
        query = self.query().where("status", "eq", UserStatus.ACTIVE).load(*options)
        if tier is not None:
            query = query.where("tier", "eq", tier)
        return query.numbered_page(self._session, page=page, per_page=per_page)

    def add_if_new(self, user: User) -> User | None:
        """Insert the person unless the address is taken; of two at once, one gets None and not an error."""
        columns = [c.key for c in User.__mapper__.column_attrs if getattr(user, c.key, None) is not None]
        values = {name: getattr(user, name) for name in columns}
        return self._session.scalar(
            insert(User).values(**values).on_conflict_do_nothing().returning(User),
            execution_options={"populate_existing": True},
        )

    def has_administrator(self) -> bool:
        """Whether anybody is an administrator."""
        return self._session.scalar(select(User.id).where(User.role == UserRole.ADMIN).limit(1)) is not None

    def lock_administrators(self) -> None:
        """Let nobody else make an administrator before this transaction ends."""
        self._session.execute(select(func.pg_advisory_xact_lock(func.hashtext("coffer.administrators"))))
