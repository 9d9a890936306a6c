"`python -m colorize_nb` is the command `colorize-nb`."
from colorize_nb.cli.app import main

if __name__ == '__main__': main()
