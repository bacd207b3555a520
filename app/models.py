"""Every feature's tables in one place: the one metadata for migrations and tests."""

import app.access.models
import app.allowances.models
import app.approvals.models
import app.audit.models
import app.brake.models
import app.calendars.models
import app.campaigns.models
import app.cheques.models
import app.closings.models
import app.commands.models
import app.customers.models
import app.emergency.models
import app.exchanges.models
import app.http.models
import app.imports.models
import app.ledger.models
import app.load_control.models
import app.notices.models
import app.openings.models
import app.policies.models
import app.purchases.models
import app.refunds.models
import app.shifts.models
import app.site_codes.models
import app.staff.models
import app.terminal_reports.models
import app.terminals.models
import app.workers.models
from app.database import Base

METADATA = Base.metadata
