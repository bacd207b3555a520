"""Who is let in and until when: sign-ins that end, attempts that are limited, keys of integration clients."""
