"""How generated signing is scored: metrics, the report that states them, and what computes both.

Most files hold pure functions on arrays. `sync_classifier`, `back_translation` and `evaluator` run networks.
"""
