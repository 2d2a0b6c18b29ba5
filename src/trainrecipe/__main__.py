"""`python -m trainrecipe` is the command `recipe`."""

from trainrecipe.cli import main

if __name__ == "__main__":
    main()
