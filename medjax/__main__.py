"""`python -m medjax` is the command `medjax`."""

from medjax.cli import main

if __name__ == "__main__":
    main()
