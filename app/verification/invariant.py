"""What an invariant is: a name, a sentence, and a query for the rows that break it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Invariant:
    """``query`` returns the rows that break it; each column says what is to be known of the row."""

    name: str
    says: str
    query: str
