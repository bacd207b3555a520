"""What people of the utility may be; each route names the roles that may call it."""

from enum import StrEnum


class Role(StrEnum):
    CASHIER = "cashier"
    OPERATOR = "operator"
    APPROVER = "approver"
    ACCOUNT_MANAGER = "account_manager"
    TARIFF_KEEPER = "tariff_keeper"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"
