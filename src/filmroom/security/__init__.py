"""Who is asking, and what is remembered of it."""
