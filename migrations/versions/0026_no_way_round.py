"""No way round the rules from inside the application's role.

Functions that run as their owner look for names in pg_temp last: it is searched first where it is not named, and who may make
temporary objects could put a type of their own in the way, whose check would run as the owner. References between a
person's rows carry the person where they did not yet, an audit row is written in one's own name, and a sum of amounts has
room.
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# Every function of ours that runs as its owner, wherever it stands and whatever it takes.
SET_SEARCH_PATH = """
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT p.oid::regprocedure AS signature FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.prosecdef AND n.nspname IN ('public', 'parts') AND pg_get_userbyid(p.proowner) = current_user
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = {path}', found.signature);
    END LOOP;
END $$
"""

CHECK_PARENT = """
CREATE FUNCTION coffer_check_category_tree() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    sight pg_catalog.text := coalesce(current_setting('app.everybody', true), '');
    broken pg_catalog.bool;
BEGIN
    PERFORM set_config('app.everybody', 'on', true);
    broken := EXISTS (
        SELECT FROM changed t
        JOIN public.categories c ON c.id IN (t.parent_id, t.merged_into)
        WHERE c.user_id IS NOT NULL AND c.user_id IS DISTINCT FROM t.user_id
    );
    PERFORM set_config('app.everybody', sight, true);
    IF broken THEN
        RAISE EXCEPTION 'category of another person'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_categories_tree_owner';
    END IF;
    RETURN NULL;
END $$
"""

ME = "(SELECT nullif(current_setting('app.user_id', true), '')::uuid)"
EVERYBODY = "(SELECT current_setting('app.everybody', true) = 'on')"

# NaN is greater than every number, so an upper bound keeps it out.
BOUNDS = {
    "accounts": ("opening_balance_is_a_number", "abs(opening_balance) < 1e16 AND abs(balance) < 1e16"),
    "budgets": ("amount_is_a_number", "amount < 1e12"),
}


def upgrade() -> None:
    op.execute(SET_SEARCH_PATH.format(path="pg_catalog, public, pg_temp"))
    op.execute(CHECK_PARENT)
    for event in ("INSERT", "UPDATE"):
        op.execute(
            f"CREATE TRIGGER categories_tree_owner_{event.lower()} AFTER {event} ON categories "
            "REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION coffer_check_category_tree()"
        )
    op.execute("ALTER TABLE imports ADD CONSTRAINT uq_imports_user_id_id UNIQUE (user_id, id)")
    op.execute("ALTER TABLE transactions DROP CONSTRAINT fk_transactions_import_id")
    op.execute(
        "ALTER TABLE transactions ADD CONSTRAINT fk_transactions_user_id_import_id FOREIGN KEY (user_id, import_id) "
        "REFERENCES imports (user_id, id) ON DELETE SET NULL (import_id) NOT VALID"
    )
    op.execute("ALTER TABLE transactions VALIDATE CONSTRAINT fk_transactions_user_id_import_id")
    for table, (name, rule) in BOUNDS.items():
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_{name} CHECK ({rule}) NOT VALID")
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT ck_{table}_{name}")
    op.alter_column("budget_alerts", "spent", type_=sa.Numeric(20, 4))
    op.execute("DROP POLICY anybody_adds ON audit_logs")
    op.execute(
        "CREATE POLICY anybody_adds ON audit_logs FOR INSERT TO coffer_app "
        f"WITH CHECK (actor_id IS NULL OR actor_id = {ME} OR {EVERYBODY})"
    )


def downgrade() -> None:
    op.execute("DROP POLICY anybody_adds ON audit_logs")
    op.execute("CREATE POLICY anybody_adds ON audit_logs FOR INSERT TO coffer_app WITH CHECK (true)")
    op.alter_column("budget_alerts", "spent", type_=sa.Numeric(16, 4))
    for table, (name, _) in BOUNDS.items():
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_{name}")
    op.execute("ALTER TABLE transactions DROP CONSTRAINT fk_transactions_user_id_import_id")
    op.execute(
        "ALTER TABLE transactions ADD CONSTRAINT fk_transactions_import_id FOREIGN KEY (import_id) "
        "REFERENCES imports (id) ON DELETE SET NULL NOT VALID"
    )
    op.execute("ALTER TABLE transactions VALIDATE CONSTRAINT fk_transactions_import_id")
    op.execute("ALTER TABLE imports DROP CONSTRAINT uq_imports_user_id_id")
    for event in ("insert", "update"):
        op.execute(f"DROP TRIGGER categories_tree_owner_{event} ON categories")
    op.execute("DROP FUNCTION coffer_check_category_tree()")
    op.execute(SET_SEARCH_PATH.format(path="pg_catalog, public"))
