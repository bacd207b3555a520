"""A small believable utility on real parts in one folder: for the demo, the story and the bench."""
