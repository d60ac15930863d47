"""`python -m volcodec`: the command line."""

from volcodec.cli import main

if __name__ == "__main__":
    main()
