"""Installing: megabytes of the wheel and of the core in a fresh environment, and seconds from a cold start to help and
to one picture there."""
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from statistics import median

from timing import interleaved

ROOT = Path(__file__).resolve().parent.parent

def run_in(folder, *cmd):
    "Run a command without this checkout on its path"
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run([str(c) for c in cmd], cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode: sys.exit(f"{' '.join(map(str, cmd))} failed:\n{done.stdout}{done.stderr}")

def size(folder, bytecode=True):
    "Bytes of the files in a folder"
    files = (f for f in folder.rglob('*') if f.is_file() and not f.is_symlink())
    return sum(f.stat().st_size for f in files if bytecode or f.suffix != '.pyc')

def run(quick=False):
    "Two tables: megabytes, and median milliseconds"
    from PIL import Image
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        run_in(tmp, sys.executable, '-m', 'pip', 'wheel', ROOT, '--no-deps', '-w', tmp)
        wheel = next(tmp.glob('*.whl'))
        venv.create(tmp/'core', with_pip=True)
        bin_, empty = tmp/'core'/('Scripts' if os.name == 'nt' else 'bin'), tmp/'core'
        before = {o: size(empty, o) for o in (False, True)}
        run_in(tmp, bin_/'python', '-m', 'pip', 'install', wheel)
        grown = {o: size(tmp/'core', o) - before[o] for o in before}
        sizes = {'the wheel': wheel.stat().st_size, 'the core, installed': grown[False],
                 'with the bytecode that pip compiles': grown[True]}
        Image.linear_gradient('L').save(tmp/'small.png')
        out = tmp/'out'
        tasks = {'import numpy': lambda: run_in(tmp, bin_/'python', '-c', 'import numpy'),
                 'colorize-nb --help': lambda: run_in(tmp, bin_/'colorize-nb', '--help'),
                 'colorize-nb colorize, one picture of 256x256': lambda: run_in(tmp, bin_/'colorize-nb', 'colorize',
                     'small.png', '--out', out, '--overwrite')}
        times = interleaved(tasks, 2 if quick else 9, warmup=1)
    return {'install, MB (not ms)': {n: dict(ms=round(v/1e6, 1)) for n, v in sizes.items()},
            'install, cold start': {n: dict(ms=round(1e3*median(t), 1)) for n, t in times.items()}}
