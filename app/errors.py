"""The four kinds of refusal; a feature subclasses one beside the rule that raises it.

    DomainError
    ├── NotFound    there is no such thing
    ├── Conflict    it clashes with what is there
    ├── Forbidden   this person may not
    └── Refused     a rule says no

No kind knows a status code: ``app.http.problems`` alone turns them into answers.
"""

import re
from typing import Any, ClassVar


class DomainError(Exception):
    """A refusal that a person can meet: what was wrong, and what would be right.

    Subclasses are plain classes whose ``__init__`` keywords are the typed facts; they become members of the
    problem document.
    """

    title: ClassVar[str] = "The request was refused"

    def __init__(self, detail: str, *, remedy: str, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
        self.facts = facts

    @classmethod
    def slug(cls) -> str:
        """Name the problem in its URI: ``PriceExpired`` → ``price-expired``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()


class NotFound(DomainError):
    title = "There is no such thing"


class Conflict(DomainError):
    title = "It clashes with what is there"


class Forbidden(DomainError):
    title = "This person may not do that"


class Refused(DomainError):
    title = "A rule says no"


class TwoPersonsNeeded(Refused):
    """One person asks, another looks and approves; ``ask_at`` is where to ask."""

    title = "This needs a second person"

    def __init__(self, *, what: str, ask_at: str) -> None:
        super().__init__(
            f"{what} needs an approval by another person.",
            remedy=f"Ask for it at POST {ask_at}; it is done when an approver approves it.",
            ask_at=ask_at,
        )
