"""The check of a category's owner sees the categories of others.

Its function runs as the owner of the tables, whom forced row-level security holds like everybody else: acting for one
person it did not see the very category that it was to refuse.
"""

from alembic import op

revision = "0024"
down_revision = "0021"
branch_labels = None
depends_on = None

CHECK_CATEGORY = """
CREATE OR REPLACE FUNCTION coffer_check_category_owner() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    sight text := coalesce(current_setting('app.everybody', true), '');
    broken boolean;
BEGIN
    {see_all}
    broken := EXISTS (
        SELECT FROM changed t
        JOIN public.categories c ON c.id = t.category_id
        WHERE c.user_id IS NOT NULL AND (c.user_id <> t.user_id OR c.merged_into IS NOT NULL)
    );
    PERFORM set_config('app.everybody', sight, true);
    IF broken THEN
        RAISE EXCEPTION 'category of another person, or merged into another'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_' || TG_TABLE_NAME || '_category_owner';
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.execute(CHECK_CATEGORY.format(see_all="PERFORM set_config('app.everybody', 'on', true);"))


def downgrade() -> None:
    op.execute(CHECK_CATEGORY.format(see_all=""))
