"""Every query over one-time tokens."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update

from app.auth.registration.models import OneTimeToken, TokenPurpose
from app.core.repository import Repository


class OneTimeTokenRepository(Repository[OneTimeToken]):
    """Tokens of mailed links."""

    model = OneTimeToken

    def issue(
        self,
        *,
        token_id: UUID,
        user_id: UUID,
        purpose: TokenPurpose,
        token_hash: bytes,
        payload: dict[str, Any],
        lifetime: timedelta,
    ) -> OneTimeToken:
        """Keep a new token's hash; it expires by the database's clock."""
        return self.add(
            OneTimeToken(
                id=token_id,
                user_id=user_id,
                purpose=purpose,
                token_hash=token_hash,
                payload=payload,
                expires_at=func.now() + lifetime,
            )
        )

    def find_owner_id(self, token_hash: bytes, purpose: TokenPurpose) -> UUID | None:
        """Whose token it is, whether or not it can still be used."""
        return self._session.scalar(
            select(OneTimeToken.user_id).where(OneTimeToken.token_hash == token_hash, OneTimeToken.purpose == purpose)
        )

    def spend(self, token_hash: bytes, purpose: TokenPurpose) -> OneTimeToken | None:
        """Use the token up: of many at once, one gets it, the others None."""
        return self._session.scalar(
            update(OneTimeToken)
            .where(
                OneTimeToken.token_hash == token_hash,
                OneTimeToken.purpose == purpose,
                OneTimeToken.used_at.is_(None),
                OneTimeToken.expires_at > func.now(),
            )
            .values(used_at=func.now())
            .returning(OneTimeToken)
        )

    def find_usable(self, token_id: UUID) -> OneTimeToken | None:
        """The token, unless it was used or has expired."""
        return self._session.scalar(
            select(OneTimeToken).where(
                OneTimeToken.id == token_id,
                OneTimeToken.used_at.is_(None),
                OneTimeToken.expires_at > func.now(),
            )
        )

    def list_payloads(self, user_id: UUID) -> list[dict[str, Any]]:
        """What the person's links of registrations carry, newest first, the used and expired ones too."""
        return list(
            self._session.scalars(
                select(OneTimeToken.payload)
                .where(OneTimeToken.user_id == user_id, OneTimeToken.purpose == TokenPurpose.VERIFY_EMAIL)
                .order_by(OneTimeToken.id.desc())
                .limit(200)
            )
        )

    def void(self, user_id: UUID, purpose: TokenPurpose) -> None:
        """Remove what is left of this purpose, with what the tokens carried."""
        self._session.execute(
            delete(OneTimeToken).where(OneTimeToken.user_id == user_id, OneTimeToken.purpose == purpose)
        )
