"""Tenants: organisations whose people sign in through SAML."""

from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, String, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class Tenant(Base):
    """An organisation and its identity provider."""

    __tablename__ = "tenants"
    __table_args__ = (CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{1,62}$'", name="slug_form"),)

    slug: Mapped[str] = mapped_column(String(63), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    email_domains: Mapped[list[str]] = mapped_column(ARRAY(String(253)), default=list)
    idp_entity_id: Mapped[str] = mapped_column(String(500))
    idp_sso_url: Mapped[str] = mapped_column(String(500))
    idp_slo_url: Mapped[str | None] = mapped_column(String(500))
    idp_certificates: Mapped[list[str]] = mapped_column(ARRAY(Text))
    attribute_map: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    jit_enabled: Mapped[bool] = mapped_column(default=False)
