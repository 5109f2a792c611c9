"""What guards the user: text and YAML that others wrote, keys, the proof that nothing leaves the machine."""
