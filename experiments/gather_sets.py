"""Gather several sets of pictures into one folder to train on: links to the files, nothing is copied.

    python experiments/gather_sets.py ../shared/data --out all                # learn from every set, validate on
        photographs
    python experiments/gather_sets.py ../shared/data --out free --only photos --keys nips17 food metaext elementary
        clothing intel

A set is a folder with `train/` and `valid/`. OUT gets `train/SET/...` from all of them and `valid/SET/...` from the set
named by --valid alone. With --keys only
files count whose names begin with one of these words and `_`: the source of a picture, and so its terms.
"""
import argparse
import os
from pathlib import Path

from colorize_nb.io.files import find_pictures

def gather(data, out, sets, valid, keys=()):
    "Link training pictures of `sets`, and validation pictures of `valid`, into `out`; return how many."
    n = dict(train=0, valid=0)
    for part, names in ('train', sets), ('valid', [valid]):
        for name in names:
            root = Path(data)/name/part
            for f in find_pictures(root):
                if part == 'train' and keys and f.name.split('_')[0] not in keys: continue
                link = Path(out)/part/name/f.relative_to(root)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(os.path.relpath(f.resolve(), link.parent.resolve()))
                n[part] += 1
    return n

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data', type=Path, help='folder of the sets')
    p.add_argument('--out', type=Path, required=True, help='folder to make')
    p.add_argument('--only', nargs='+', metavar='SET', help='sets to learn from, default all that have both parts')
    p.add_argument('--valid', default='photos', metavar='SET', help='set to validate on')
    p.add_argument('--keys', nargs='+', default=[], metavar='WORD', help='first words of file names that count')
    args = p.parse_args()
    if args.out.exists(): raise SystemExit(f"{args.out} is already there: remove it, or give another folder")
    sets = args.only or sorted(d.name for d in args.data.iterdir() if (d/'train').is_dir() and (d/'valid').is_dir())
    if lack := [s for s in [*sets, args.valid] if not (args.data/s).is_dir()]:
        raise SystemExit(f"no set named {', '.join(lack)} in {args.data}: take its folders' names")
    n = gather(args.data, args.out, sets, args.valid, args.keys)
    print(f"{args.out}: {n['train']} pictures to learn from ({', '.join(sets)}), {n['valid']} to validate on "
          f"({args.valid})")

if __name__ == '__main__': main()
