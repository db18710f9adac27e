"""`python -m counteract.cli`: the same as the command `counteract`."""

from counteract.cli import main

main()
