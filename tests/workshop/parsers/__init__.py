"""Libraries that read documents, held against each other: `python -m tests.workshop.parsers [FOLDER]`."""
