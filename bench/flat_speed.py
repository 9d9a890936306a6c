"A million made names: seconds and memory of listing, plan and skip check, each run in a process of its own."
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import peak_megabytes

SHARE = 500 # names in a folder, as scanners number them

def save_result(path):
    "A small result as `colorize` writes it"
    from PIL import Image

    from colorize_nb.io.metadata import Metadata
    from colorize_nb.io.write import save_picture
    save_picture(Image.new('RGB', (16, 16)), path, Metadata(), 'default')

def make_names(old, new, n):
    "Empty files in folders, none of them a picture, and for every second one a result, all of them links to a few"
    whole, links = new/'result.jpg', 0
    for i in range(n):
        folder, name = f'{i//SHARE:05}', f'scan_{i:08}.jpg'
        if i % SHARE == 0: os.makedirs(old/folder), os.makedirs(new/folder)
        os.close(os.open(old/folder/name, os.O_CREAT))
        if i % 2: continue
        if links % 60_000 == 0: whole.unlink(missing_ok=True), save_result(whole) # ext4: 65,000 links a file
        os.link(whole, new/folder/name)
        links += 1
    whole.unlink()

def measure(old, new):
    "Seconds and peak megabytes of the three steps, in this process"
    from colorize_nb.colorizer.plan import (BatchOptions, FolderNames, Result, files_to_write, input_ids,
                                           plan_files)
    start, busy, options = time.perf_counter(), time.process_time(), BatchOptions()
    jobs = plan_files(old, new)
    planned = time.perf_counter()
    protected = input_ids(jobs)
    known, names = time.perf_counter(), FolderNames()
    skipped = sum(isinstance(files_to_write(job, protected, options, names), Result) for job in jobs)
    end = time.perf_counter()
    return dict(jobs=len(jobs), skipped=skipped, listing=planned - start, ids=known - planned, skip=end - known,
                all=end - start, busy=time.process_time() - busy, peak=round(peak_megabytes()))

def disk(folder):
    "Kind of file system that a folder is on, for the disk is most of the wall clock"
    try: mounts = [line.split() for line in Path('/proc/mounts').read_text().splitlines()]
    except OSError: return 'this disk'
    above = [m for m in mounts if Path(folder).is_relative_to(m[1])]
    return max(above, key=lambda m: len(m[1]))[2]

def run(quick=False):
    "One table: milliseconds of each step, and the peak of the process"
    n = 20_000 if quick else 1_000_000
    folder = tempfile.mkdtemp(dir=os.environ.get('COLORIZE_NB_BENCH_DIR'))
    old, new, kind = Path(folder, 'old'), Path(folder, 'new'), disk(folder)
    try:
        for f in (old, new): f.mkdir()
        make_names(old, new, n)
        done = subprocess.run([sys.executable, __file__, str(old), str(new)], capture_output=True, text=True)
        if done.returncode: sys.exit(done.stderr)
        found = json.loads(done.stdout)
        assert (found['jobs'], found['skipped']) == (n, n//2), found
    finally: shutil.rmtree(folder)
    rows = {'listing, names of results, clashes': 'listing', 'what no result may overwrite': 'ids',
            'skip check': 'skip', 'all': 'all', 'all, processor time alone': 'busy'}
    rows = {title: dict(ms=round(1e3*found[key])) for title, key in rows.items()}
    rows['all']['peak_megabytes'] = found['peak']
    return {f'a plan of {n:,} names, every second one done, {kind}': rows}

if __name__ == '__main__':
    print(json.dumps(measure(*sys.argv[1:])) if len(sys.argv) == 3 else run(True))
