"""Models that make vectors of texts, whatever runs them, and where their weights come from."""
