"""Which words matched which, and what that was worth to a score: told by the stage that scored."""
