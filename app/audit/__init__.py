"""Who did what, when and from where: a record that cannot be changed without showing it."""
