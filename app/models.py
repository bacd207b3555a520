"""Every feature's tables in one place: the one metadata for migrations and tests."""

from app.allowances import models as allowances
from app.commands import models as commands
from app.customers import models as customers
from app.database import Base
from app.http import models as http
from app.ledger import models as ledger
from app.load_control import models as load_control
from app.notices import models as notices
from app.purchases import models as purchases
from app.staff import models as staff
from app.terminal_reports import models as terminal_reports
from app.terminals import models as terminals

__all__ = [
    "allowances",
    "commands",
    "customers",
    "http",
    "ledger",
    "load_control",
    "notices",
    "purchases",
    "staff",
    "terminal_reports",
    "terminals",
]

METADATA = Base.metadata
