"""Test notebooks, one group of rooms after another, in forks of a process that has imported what nearly all need.

Each group has processes of its own, so that none keeps what other groups' notebooks made. `nbdev-test` alone would
import PyTorch and fastai anew for each of them."""
import argparse
import multiprocessing
import sys
from pathlib import Path

from nbdev.test import nbdev_test

NBS = Path(__file__).resolve().parent.parent/'nbs'

def warm_up():
    "Import what takes seconds, where a fork keeps it"
    if multiprocessing.get_start_method() != 'fork': return
    import colorize_nb.all # noqa: F401

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('rooms', nargs='+', help="a group: names of rooms with | between them, as 'color|io'")
    p.add_argument('--workers', type=int, default=2, help='processes at once')
    p.add_argument('--flags', default='', help="run cells with these flags as well, as 'slow'")
    args = p.parse_args()
    warm_up()
    failed = []
    for group in args.rooms:
        print(f'== {group}', flush=True)
        try: nbdev_test(str(NBS), path_re=rf'nbs\W({group})\W', n_workers=args.workers, flags=args.flags, timing=True)
        except SystemExit: failed.append(group) # it has said what; the others are tested all the same
    if failed: return f"failed: {', '.join(failed)}"

if __name__ == '__main__': sys.exit(main())
