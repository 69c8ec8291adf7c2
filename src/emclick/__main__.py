"""`python -m emclick`."""

from emclick.cli import main

main()
