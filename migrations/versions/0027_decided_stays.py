"""What was decided about a request stays as it was decided; a campaign's target can be asked again later."""

from collections.abc import Sequence

from alembic import op

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_DECIDED = "state, decided_by, decided_at, decided_because, review_due_at, result"
_REVIEWED = "reviewed_by, reviewed_at, finding"


def _of(row: str, columns: str) -> str:
    return "(" + ", ".join(f"{row}.{column}" for column in columns.split(", ")) + ")"


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION a_request_comes_first() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
        BEGIN
            RAISE EXCEPTION 'approval % begins as %, and every one begins as asked for', NEW.id, NEW.state
                USING ERRCODE = 'integrity_constraint_violation';
        END $$
    """)
    op.execute("""
        CREATE FUNCTION what_was_decided_stays() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
        BEGIN
            RAISE EXCEPTION 'approval % is %, and what was decided or found stays as it was', OLD.id, OLD.state
                USING ERRCODE = 'integrity_constraint_violation';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER a_request_comes_first BEFORE INSERT ON approvals FOR EACH ROW
          WHEN (NEW.state <> 'asked' OR NEW.decided_by IS NOT NULL OR NEW.reviewed_by IS NOT NULL)
       EXECUTE FUNCTION a_request_comes_first()
    """)
    op.execute(f"""
        CREATE TRIGGER what_was_decided_stays BEFORE UPDATE ON approvals FOR EACH ROW
          WHEN ((OLD.state <> 'asked' AND {_of("OLD", _DECIDED)} IS DISTINCT FROM {_of("NEW", _DECIDED)})
                OR (OLD.reviewed_at IS NOT NULL AND {_of("OLD", _REVIEWED)} IS DISTINCT FROM {_of("NEW", _REVIEWED)}))
       EXECUTE FUNCTION what_was_decided_stays()
    """)
    op.execute("GRANT UPDATE (after_s) ON campaign_targets TO wattgate_app")


def downgrade() -> None:
    op.execute("REVOKE UPDATE (after_s) ON campaign_targets FROM wattgate_app")
    for trigger in ("a_request_comes_first", "what_was_decided_stays"):
        op.execute(f"DROP TRIGGER {trigger} ON approvals")
        op.execute(f"DROP FUNCTION {trigger}()")
