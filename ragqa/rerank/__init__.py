"""Second stages: from candidate passages to the order that counts."""
