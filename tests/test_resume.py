"A run killed with SIGKILL at random moments and resumed ends with the same weights as one that nobody killed."
import os, random, signal, subprocess, sys, time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from colorize_nb.train.callbacks import read_checkpoint

SCRIPT = '''
import sys, warnings
warnings.simplefilter('ignore')
import torch; torch.set_num_threads(1)
from dataclasses import replace
from colorize_nb.train.run import get_recipe, run_recipe
data, out, resume = sys.argv[1:]
lite = get_recipe('lite')
tiny = replace(lite, encoder=None, config=dict(encoder='mobilenet_v2', nf=[16, 16, 16, 16]), critic=dict(n_layers=2, nf=8, norm='spectral'),
               phases=[replace(p, epochs=n, n_store=16) for p, n in zip(lite.phases, (3, 2, 2))])
run_recipe(tiny, data, out, size=64, bs=4, resume=bool(int(resume)), log=lambda s: print(s, flush=True))
'''
ENV = {**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE'}

def start(data, out, resume): return subprocess.Popen([sys.executable, '-c', SCRIPT, str(data), str(out), str(int(resume))], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "Crops of the packaged photographs, as files in `train` and `valid`."
    from colorize_nb.io.samples import sample, samples
    root = tmp_path_factory.mktemp('data')
    for split, names in (('train', samples()[:-2]), ('valid', samples()[-2:])):
        (root/split).mkdir()
        for n in names:
            im = sample(n); w, h = im.size
            for i in range(4): im.crop((i*w//8, i*h//8, w*(i + 4)//8, h*(i + 4)//8)).resize((96, 96)).save(root/split/f'{n}_{i}.jpg')
    return root

def test_killed_runs_end_alike(data, tmp_path):
    t = time.time(); p = start(data, tmp_path/'whole', False)
    assert p.wait() == 0, p.stdout.read()
    took = time.time() - t
    want = load_file(tmp_path/'whole'/'model.safetensors')
    rng, killed = random.Random(int(took*1e6)), [] # another moment each time the test runs
    for attempt in range(12):
        p = start(data, tmp_path/'killed', attempt > 0)
        wait = (rng.uniform(.3, .9) if killed else rng.uniform(.1, .4))*took # the first early: what else ran on the machine may have ended since
        try: p.wait(wait if len(killed) < 3 else None); break
        except subprocess.TimeoutExpired: p.send_signal(signal.SIGKILL); p.wait(); killed.append(round(wait, 2))
    assert p.returncode == 0, (killed, p.stdout.read())
    assert killed, 'no run was killed'
    a, b = (read_checkpoint(tmp_path/d/'checkpoint.pt') for d in ('whole', 'killed'))
    differ = [(k, n) for k in a['nets'] for n, v in a['nets'][k].items() if not v.equal(b['nets'][k][n])]
    assert differ == [] and a['epoch'] == b['epoch'], f'killed after {killed} s of {took:.1f} s' # float32, both networks
    got = load_file(tmp_path/'killed'/'model.safetensors')
    assert [k for k in want if not (want[k] == got[k]).all()] == [], f'killed after {killed} s of {took:.1f} s'
    assert (tmp_path/'whole'/'history.csv').read_text() == (tmp_path/'killed'/'history.csv').read_text()
