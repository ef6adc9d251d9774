"""The page of demo_app.py: its models, its fields and its files."""
