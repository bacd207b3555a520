"""What one person may not do alone: asked for by one, seen and approved by another, and done only then."""
