"""The double-click program: without arguments it opens the page, with arguments it is the command `colorize-nb`."""
import multiprocessing
import os
import sys

def main():
    "Run the command line; where a window was opened for it, leave time to read an error"
    os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1') # ONNX Runtime would tell its maker how it is used
    clicked = len(sys.argv) == 1
    if clicked: sys.argv += ['app', '--port', '0'] # any free port: another copy may be open
    from colorize_nb.cli.app import main as command
    try: command()
    except SystemExit as e:
        if clicked and e.code and sys.stdin and sys.stdin.isatty(): input('Press Enter to close this window.')
        raise

if __name__ == '__main__':
    multiprocessing.freeze_support() # `--workers` starts this program again
    main()
