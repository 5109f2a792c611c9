"""`python -m ragqa`."""

from ragqa.cli.app import main

main()
