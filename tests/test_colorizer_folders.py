"Runs over folders: stopped by signals, shared by `accelerate launch`, and their memory over many pictures."
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorize_nb.io.samples import gray_sample

ROOT = Path(__file__).resolve().parent.parent
ENV = {**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE', 'PYTHONUTF8': '1'}
posix = pytest.mark.skipif(os.name != 'posix', reason='needs POSIX signals')

SCRIPT = '''import os, signal, sys, time
import numpy as np
from PIL import Image
class Tint:
    "Stands in for a network: one colour, after a while"
    name, size, saturation = 'tint', 64, 1.
    def __init__(self, pause=0.): self.pause = pause
    def predict_ab(self, pictures, size=None, tta=False): return [np.zeros((2, 2, 2), np.float32) for _ in pictures]
    def merge_chroma(self, picture, ab, target='rgb', saturation=None, exact=False):
        time.sleep(self.pause)
        chroma = [Image.new('L', picture.size, v) for v in (100, 150)]
        im = Image.merge('YCbCr', [picture.plane(), *chroma])
        return im if target == 'jpeg' else im.convert('RGB')
def slow(): return Tint(.05)
def tell(results):
    try:
        for r in results: print(r.status, r.target and r.target.name, flush=True)
    except KeyboardInterrupt:
        print('interrupted', flush=True)
        sys.exit(130)
if __name__ == '__main__':
    old, new, how = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler) # a process started in the background ignores it
    if how == 'threads':
        from colorize_nb.colorizer.batch import colorize_files
        tell(colorize_files(old, new, slow(), batch_size=1))
    if how == 'processes':
        from colorize_nb.colorizer.processes import colorize_in_processes
        from tinting import slow
        tell(colorize_in_processes(2, old, new, slow, batch_size=1))
    if how == 'shards':
        from colorize_nb.colorizer.batch import colorize_files
        from colorize_nb.colorizer.plan import shard_from_env
        rank, world = shard_from_env()
        done = [str(r.source) for r in colorize_files(old, new, Tint(), shard=(rank, world))]
        import json
        with open(f'{new}-{rank}.json', 'w') as f: json.dump([rank, world, done], f)
'''

@pytest.fixture
def place(tmp_path):
    "A folder with a script and 40 pictures"
    (tmp_path/'tinting.py').write_text(SCRIPT)
    (tmp_path/'old').mkdir()
    for i in range(40): gray_sample('moon').resize((60, 40)).rotate(9*i).save(tmp_path/'old'/f'{i:02}.png')
    return tmp_path

def command(place, how): return [sys.executable, place/'tinting.py', place/'old', place/'new', how]

def begun(place, how, n=3):
    "A run in a group of its own, once it has written `n` pictures"
    run = subprocess.Popen(command(place, how), cwd=place, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, start_new_session=True)
    end = time.monotonic() + 100
    while run.poll() is None and time.monotonic() < end:
        if len(list((place/'new').glob('[0-9]*.png'))) >= n: break
        time.sleep(.01)
    return run

def check_rest(place, how, whole):
    "What was left is done by a second run, what was done is left alone, and nothing else lies there"
    times = {f: (place/'new'/f).stat().st_mtime_ns for f in whole}
    done = subprocess.run(command(place, how), cwd=place, env=ENV, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    statuses = Counter(line.split()[0] for line in done.stdout.splitlines())
    assert statuses == {'done': 40 - len(whole), 'skipped': len(whole)}
    assert sorted(f.name for f in (place/'new').iterdir()) == [f'{i:02}.png' for i in range(40)]
    assert {f: (place/'new'/f).stat().st_mtime_ns for f in whole} == times

def pictures(place):
    "The names of finished pictures, all of which can be read"
    names = sorted(f.name for f in (place/'new').glob('[0-9]*.png'))
    for f in names:
        with Image.open(place/'new'/f) as im:
            im.load()
            assert im.size == (60, 40)
    return names

@posix
@pytest.mark.parametrize('how', ['threads', 'processes'])
def test_ctrl_c_finishes_what_is_in_hand(place, how):
    run = begun(place, how)
    os.killpg(run.pid, signal.SIGINT) # to all of the group, as a terminal does
    out, err = run.communicate(timeout=100)
    told = [line.split()[1] for line in out.splitlines() if line.startswith('done')]
    assert run.returncode == 130 and out.splitlines()[-1] == 'interrupted' and not err, err
    assert 3 <= len(told) < 40 and told == pictures(place) == sorted(f.name for f in (place/'new').iterdir())
    check_rest(place, how, told)

@posix
@pytest.mark.parametrize('how', ['threads', 'processes'])
def test_a_second_ctrl_c_interrupts_at_once(place, how):
    run = begun(place, how)
    os.killpg(run.pid, signal.SIGINT)
    time.sleep(.02)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=100)
    assert run.returncode == 130 and 'Traceback' not in err, err
    whole = pictures(place)
    assert len(whole) == len(list((place/'new').iterdir())) < 40
    check_rest(place, how, whole)

@posix
@pytest.mark.parametrize('how', ['threads', 'processes'])
def test_a_killed_run_leaves_no_half_file(place, how):
    run = begun(place, how)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=100) # workers end with their parent
    whole = pictures(place)
    assert 3 <= len(whole) < 40
    check_rest(place, how, whole)

@pytest.mark.parametrize('how, n', [
    ('--multi_gpu', 2), pytest.param('--cpu', 1, marks=pytest.mark.slow)]) # --cpu starts one without MPI
def test_accelerate_launch_shares_a_folder(place, how, n):
    pytest.importorskip('accelerate')
    launch = [sys.executable, '-m', 'accelerate.commands.launch', how, '--num_processes', '2', '--num_machines', '1',
              '--mixed_precision', 'no', '--dynamo_backend', 'no', '--main_process_port', '0']
    done = subprocess.run([*launch, *map(str, command(place, 'shards')[1:])], cwd=place, env=ENV, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    shares = [json.loads(f.read_text()) for f in sorted(place.glob('new-*.json'))]
    assert [(rank, world, len(done)) for rank, world, done in shares] == [(k, n, 40//n) for k in range(n)]
    sources = sorted(str(f) for f in (place/'old').iterdir())
    assert sorted(f for *_, done in shares for f in done) == sources # every picture exactly once
    assert len(pictures(place)) == 40

MEMORY = '''import sys
from tinting import Tint
from colorize_nb.colorizer.batch import colorize_files
def rss(): return int(open('/proc/self/statm').read().split()[1])*4096
for i, r in enumerate(colorize_files(sys.argv[1], sys.argv[2], Tint())):
    assert r.status == 'done', r
    if i % 20 == 19: print(i + 1, rss(), flush=True)
'''

@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_memory_stays_flat(place):
    "2,000 pictures: what the heap gains over the second thousand, extrapolated to 10,000, is next to nothing"
    for f in (place/'old').iterdir(): f.unlink()
    im = gray_sample('camera')
    for i in range(50): im.resize((300 + i, 200)).save(place/f'{i:02}.jpg', quality=80)
    for i in range(2000): os.link(place/f'{i % 50:02}.jpg', place/'old'/f'{i:04}.jpg')
    (place/'memory.py').write_text(MEMORY)
    script = [sys.executable, 'memory.py', 'old', 'new']
    done = subprocess.run(script, cwd=place, env=ENV, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    n, rss = np.array([line.split() for line in done.stdout.splitlines()], float).T
    slope = np.polyfit(n[n > 1000], rss[n > 1000], 1)[0]
    assert slope*10_000 < 60e6, f'{slope*10_000/1e6:.0f} MB' # 600 if pictures were kept, noise is some 10
