"""`python -m heredity` is the `heredity` command."""

from heredity.cli import main

if __name__ == "__main__":
    main()
