"""The runs of a database: where they are, opened, shown, removed, and as the dicts that users get."""
