"Shards from a folder: a killed call loses nothing, a training takes them as they are, a start looks at files once."
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from parallel_runs import recipe
from PIL import Image

from colorize_nb.io.samples import sample, samples
from colorize_nb.train import scan
from colorize_nb.train.data import ColorizeDataLoaders
from colorize_nb.train.pack import PackOptions, pack_shards
from colorize_nb.train.run import run_recipe

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "48 pieces of photographs, and three that are gray"
    root = tmp_path_factory.mktemp('photos')/'photos'
    root.mkdir()
    for i, name in enumerate(samples()[:6]):
        for k in range(8): sample(name).crop((9*k, 5*k, 9*k + 120, 5*k + 90)).save(root/f'{name}-{k}.png')
        if i < 3: sample(name).convert('L').resize((90, 60)).save(root/f'gray-{i}.png')
    return root

def contents(out): return {f.name: f.read_bytes() for f in out.iterdir()}

@pytest.mark.slow # it imports fastai twice
def test_a_killed_call_goes_on(photos, tmp_path):
    "Killed between two shards or in the middle of one, twice: the same bytes as if nothing had happened"
    options = dict(size=64, per=6)
    pack_shards(photos, tmp_path/'whole', PackOptions(**options), log=str)
    words = ['shards', str(photos), '--out', str(tmp_path/'out'), '--size', '64', '--per', '6', '--workers', '1']
    for least in 2, 5:
        p = subprocess.Popen([sys.executable, '-m', 'colorize_nb', *words], stdout=subprocess.DEVNULL)
        while p.poll() is None and len(list((tmp_path/'out').glob('*.tar'))) < least: time.sleep(.002)
        p.send_signal(signal.SIGKILL)
        p.wait()
    assert not (tmp_path/'out'/'left_out.csv').exists() or p.returncode == 0
    res = pack_shards(photos, tmp_path/'out', PackOptions(**options), log=str)
    assert contents(tmp_path/'out') == contents(tmp_path/'whole') # no temporary file either
    assert (res.images, len(res.shards), len(res.left_out)) == (48, 9, 3)

@pytest.mark.parametrize('data', ['shards', 'shards/{00000..00002}.tar', 'shards/*.tar'])
def test_a_training_takes_shards(data, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packed = pack_shards(photos, 'shards', PackOptions(size=24, per=17), log=str)
    assert [str(f) for f in packed.shards] == [f'shards/0000{i}.tar' for i in range(3)]
    res = run_recipe(recipe('shards'), [data], 'run', device='cpu', steps=3, log=lambda s: None)
    assert res['data'] == dict(train=43, valid=5, dropped=0) # a tenth of 48; nothing gray is left
    again = run_recipe(recipe('shards'), [data], 'run', resume=True, device='cpu', steps=3, log=lambda s: None)
    assert again['metrics'] == res['metrics']

def test_a_second_start_opens_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv('COLORIZE_NB_DATA', str(tmp_path/'home'))
    rng = np.random.default_rng(0)
    for part, n in ('train', 1200), ('valid', 20):
        (tmp_path/'photos'/part).mkdir(parents=True)
        first = tmp_path/'photos'/part/'0.png'
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(first)
        for i in range(1, n): os.link(first, first.with_name(f'{i}.png'))
    Image.new('L', (9, 9), 80).save(tmp_path/'photos'/'train'/'gray.png')
    asked, look = [], scan.check_pictures
    def watched(files, min_chroma):
        asked.append(len(files))
        return look(files, min_chroma)
    monkeypatch.setattr(scan, 'check_pictures', watched)
    one, two = (ColorizeDataLoaders.from_folder(tmp_path/'photos', size=32, bs=4, num_workers=0) for _ in range(2))
    assert asked == [1201, 20, 20] # the few are looked at each time
    assert one.split == two.split and len(one.split['train']) == 1200
    assert [(Path(f).name, why[:4]) for f, why in two.dropped] == [('gray.png', 'gray')]
