"""The models that come with ragqa: what is known of each, its files, and what was fitted to it."""
