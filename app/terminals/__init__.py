"""Load-management terminals: what is fitted, how they sign in, what they last said."""
