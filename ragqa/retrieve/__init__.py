"""First stages: from a question to candidate passages."""
