"""How generated signing is scored: metrics (pure functions on arrays) and the report that states them."""
