"""Which stored results come with the package: the tables that notebooks show of trainings and experiments, where
`colorize_nb.io.results` looks for them. setup.py takes them into the wheel; a checkout reads them where they are.
"""
import shutil
from pathlib import Path

# a folder or a file of the repository -> its place in `colorize_nb/results`
SOURCES = {'nbs/results': '', 'nbs/recipes/results': 'recipes', 'bench/results.json': 'bench.json'}
SUFFIXES = '.json', '.csv' # pictures are fetched when they are asked for

def copy_results(root, out):
    "Copy the tables of the repository at `root` into the folder `out`, which is made anew"
    shutil.rmtree(out, ignore_errors=True)
    for source, target in SOURCES.items():
        source, target = Path(root)/source, Path(out)/target
        for f in [source] if source.is_file() else sorted(source.rglob('*')):
            if f.suffix not in SUFFIXES: continue
            to = target if f == source else target/f.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(f, to)
