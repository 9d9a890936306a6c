"Training in two processes is training in one, and goes on when a process was lost."
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from colorize_nb.io.samples import sample, samples
from colorize_nb.train.callbacks import read_checkpoint

pytestmark = pytest.mark.slow # each launch imports fastai once for each process
HERE = Path(__file__).parent

def launch(jobs, n, folder, port):
    "Do the jobs in `n` processes"
    file = folder/f'jobs-{port}.json'
    file.write_text(json.dumps(jobs))
    launcher = ['-m', 'torch.distributed.run', '--nproc_per_node', str(n), '--master_port', str(port)] if n > 1 else []
    env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(HERE.parent), str(HERE)]), OMP_NUM_THREADS='1')
    command = [sys.executable, *launcher, str(HERE/'parallel_runs.py'), str(file)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=900)

@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    "One process, two processes, and two of which one was killed in the middle of the second epoch"
    root = tmp_path_factory.mktemp('parallel')
    for split, names, n in ('train', samples()[:3], 4), ('valid', samples()[3:5], 2): # 12 and 4 images
        (root/'data'/split).mkdir(parents=True)
        for name in names:
            for i in range(n):
                im = sample(name).crop((20*i, 10*i, 20*i + 120, 10*i + 120)).resize((24, 24))
                im.save(root/'data'/split/f'{name}{i}.png')
    data, shards = str(root/'data'), [str(root/'data')]
    def jobs(place): return [dict(recipe='all', data=data, out=str(root/place/'all')),
                             dict(recipe='shards', data=shards, out=str(root/place/'shards'))]
    killed = dict(recipe='shards', data=shards, out=str(root/'killed'), kill=[1, 1, 0])
    said = dict(one=launch(jobs('one'), 1, root, 29611), two=launch(jobs('two'), 2, root, 29612),
                killed=launch([killed], 2, root, 29613))
    shutil.copytree(root/'killed', root/'alone')
    for place, n, port in ('killed', 2, 29614), ('alone', 1, 29615):
        job = dict(recipe='shards', data=shards, out=str(root/place), resume=True)
        said[f'{place}, resumed'] = launch([job], n, root, port)
    return root, said

def weights(folder):
    "Of the model, and of both networks as they were trained"
    nets = read_checkpoint(folder/'checkpoint.pt')['nets']
    return load_file(folder/'model.safetensors') | {f'{k}/{n}': v.numpy() for k, net in nets.items()
                                                    for n, v in net.items()}

def farthest(a, b): return max(np.abs(a[k] - b[k]).max() for k in a if a[k].dtype.kind == 'f')

def test_all_went_well(runs):
    for name, p in runs[1].items(): assert (p.returncode == 0) == (name != 'killed'), (name, p.stderr[-2000:])
    assert '2 processes share each batch' in runs[1]['two'].stdout
    assert runs[1]['two'].stdout.count('12 pictures to train, 4 to validate') == 2 # two jobs, and one process speaks

@pytest.mark.parametrize('name', ['all', 'shards'])
def test_the_same_batches_give_the_same_weights(name, runs):
    "Batches of 5 are shared as 3 and 2; the critic's as well, the game's schedule decides alike"
    one, two = (weights(runs[0]/place/name) for place in ('one', 'two'))
    assert one.keys() == two.keys()
    assert farthest(one, two) < 2e-5 # Adam's steps are of 1e-3
    if name == 'all': assert any(k.startswith('critic/') for k in one)
    a, b = (pd.read_csv(runs[0]/place/name/'history.csv') for place in ('one', 'two'))
    assert a.columns.tolist() == b.columns.tolist() and len(a) == len(b) == dict(all=7, shards=3)[name]
    pd.testing.assert_frame_equal(a, b, rtol=1e-3, atol=1e-3)
    assert a.train_loss.nunique() == len(a) # something was learned

def test_each_epoch_sees_each_image_as_one_process_does(runs):
    for name in 'all', 'shards':
        a, b = (json.loads((runs[0]/place/name/'metrics.json').read_text()) for place in ('one', 'two'))
        assert a['data'] == b['data'] == dict(train=12, valid=4, dropped=0)
        assert a['metrics']['n'] == b['metrics']['n'] == 4 and a['metrics'].keys() == b['metrics'].keys()
        for k, v in a['metrics'].items(): assert v is None or abs(v - b['metrics'][k]) < 1e-2, k

def test_a_killed_process_ends_the_run_with_a_sentence(runs):
    out = runs[1]['killed'].stderr
    assert 'another process of this training has ended' in out and '--resume goes on from it' in out
    assert not (runs[0]/'killed'/'.colorize_nb-training.lock').exists()

def test_it_goes_on_with_two_processes_to_the_bit(runs):
    assert farthest(weights(runs[0]/'two'/'shards'), weights(runs[0]/'killed')) == 0
    assert (runs[0]/'two'/'shards'/'history.csv').read_text() == (runs[0]/'killed'/'history.csv').read_text()

def test_it_goes_on_with_one_process(runs):
    assert farthest(weights(runs[0]/'one'/'shards'), weights(runs[0]/'alone')) < 2e-5
    assert 'processes 2 is now 1: the run goes on' in runs[1]['alone, resumed'].stdout
    lines = [s for s in runs[1]['alone, resumed'].stdout.splitlines() if 'phase 1-generator' in s]
    assert 'batches of epoch 2 done' in lines[0] or '1 done' in lines[0] # in the middle, or after the first
    ck = read_checkpoint(runs[0]/'alone'/'checkpoint.pt')
    assert (ck['epoch'], 'inside' in ck) == (3, False)
    assert all(torch.isfinite(v).all() for v in ck['nets']['generator'].values())
