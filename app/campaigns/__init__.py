"""The same step for many supply points: a frozen list, a dry run, waves that grow, a stop, and the way back."""
