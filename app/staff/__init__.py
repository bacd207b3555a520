"""People of the utility, their offices and roles, and signing in."""
