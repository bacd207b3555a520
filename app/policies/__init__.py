"""What the service may cut by itself, and how long before it tells: versions that two people have approved."""
