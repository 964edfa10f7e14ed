"""Categories: what money is for."""

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, WriteOnlyMapped, mapped_column, relationship

from app.core.db import Base


class Category(Base):
    """A category of a person, or of the system (without owner, the same for all, read-only for people)."""

    __tablename__ = "categories"
    __table_args__ = (
        Index(
            "uq_categories_sibling_name",
            "user_id",
            "parent_id",
            text("lower(name)"),
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("merged_into IS NULL"),
        ),
        Index(None, "parent_id"),
        Index("ix_categories_merged_into", "merged_into", postgresql_where=text("merged_into IS NOT NULL")),
        CheckConstraint("color ~ '^#[0-9A-F]{6}$'", name="color_hex"),
        CheckConstraint("is_system = (user_id IS NULL)", name="system_has_no_owner"),
        CheckConstraint("parent_id <> id", name="not_own_parent"),
    )

    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("categories.id", ondelete="RESTRICT"))
    name: Mapped[str] = mapped_column(String(80))
    icon: Mapped[str | None] = mapped_column(String(40))
    color: Mapped[str | None] = mapped_column(String(7))
    is_system: Mapped[bool] = mapped_column(default=False)
    merged_into: Mapped[UUID | None] = mapped_column(ForeignKey("categories.id", ondelete="SET NULL"))

    # A tree is read in one statement (`tree.py`); walking it row by row raises instead of asking for each.
    parent: Mapped["Category | None"] = relationship(
        back_populates="children", remote_side="Category.id", foreign_keys=[parent_id], lazy="raise"
    )
    children: Mapped[list["Category"]] = relationship(
        back_populates="parent", foreign_keys=[parent_id], lazy="raise", passive_deletes="all"
    )
    transactions: WriteOnlyMapped[Base] = relationship("Transaction", back_populates="category", passive_deletes=True)
    budgets: Mapped[list[Base]] = relationship("Budget", back_populates="category", lazy="raise", passive_deletes="all")
