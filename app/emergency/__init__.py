"""Energy is lent to who asks for it, up to an agreed limit; the next purchase gives it back first."""
