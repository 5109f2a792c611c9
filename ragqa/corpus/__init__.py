"""The corpus: one SQLite file of documents cut into passages, and everything that fills it."""
