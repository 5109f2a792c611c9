"""The command line: parses, calls, shows. No logic lives here."""
