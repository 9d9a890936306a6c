"Trainings that count steps: short epochs, checkpoints inside them, exact resume, precision and accumulation."
import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from parallel_runs import recipe as plain_recipe
from safetensors.numpy import load_file

from colorize_nb.io.samples import sample, samples
from colorize_nb.train.callbacks import read_checkpoint
from colorize_nb.train.run import Phase, run_recipe

warnings.simplefilter('ignore')

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "22 images to learn from, in batches of 4: five of a pass, and two that are left out; 5 to validate on"
    root = tmp_path_factory.mktemp('data')
    for split, n in ('train', 22), ('valid', 5):
        (root/split).mkdir()
        for i in range(n):
            im = sample(samples()[i % 6]).crop((9*i, 5*i, 9*i + 90, 5*i + 90)).resize((32, 32))
            im.save(root/split/f'{i:02d}.png')
    return root

def recipe(*kinds):
    "Random crops, and dropout before the last layer: the random numbers must be the same ones too"
    callbacks = dict(noise=dict(every=1)) # of the game: more random numbers
    phases = [Phase(k, 2, 1e-3, **(dict(callbacks=callbacks) if k == 'gan' else {})) for k in kinds]
    return replace(plain_recipe('all'), phases=phases, tfms='default', bs=4)

class Interrupt(Callback):
    "Raise `KeyboardInterrupt` after a batch of an epoch of a phase, all counted from 0"
    order = 1000
    def __init__(self, phase, epoch, batch): self.at = phase, epoch, batch
    def after_batch(self):
        here = int(self.learn.history.phase[0]) - 1, self.epoch, self.learn.checkpoint.done - 1
        if self.training and here == self.at: raise KeyboardInterrupt

def train(rec, data, out, *stops, **how):
    "A run that is interrupted at each of `stops` and resumed"
    how = dict(device='cpu', num_workers=0, log=lambda s: None) | how
    for i, stop in enumerate([*stops, None]):
        cbs = [Interrupt(*stop)] if stop else []
        if not stop: return run_recipe(rec, data, out, resume=i > 0, cbs=cbs, **how)
        with pytest.raises(KeyboardInterrupt): run_recipe(rec, data, out, resume=i > 0, cbs=cbs, **how)

def assert_same(a, b):
    "Models, both networks, optimizers' moments and histories"
    x, y = (load_file(o/'model.safetensors') for o in (a, b))
    assert [k for k in x if not np.array_equal(x[k], y[k])] == []
    x, y = (read_checkpoint(o/'checkpoint.pt') for o in (a, b))
    for k in x['nets']:
        for n, v in x['nets'][k].items(): assert torch.equal(v, y['nets'][k][n]), (k, n)
    assert x.get('loader') == y.get('loader')
    assert (a/'history.csv').read_text() == (b/'history.csv').read_text()

STEPS = dict(save_steps=1, valid_every=3, steps=18)

@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    "A generator and a game of 18 steps together, never interrupted"
    out = tmp_path_factory.mktemp('whole')/'run'
    train(recipe('generator', 'gan'), data, out, **STEPS)
    return out

def test_steps_are_shared_out(whole):
    "Two phases of 9 steps each, in epochs of 3"
    history = pd.read_csv(whole/'history.csv')
    assert list(zip(history.phase, history.epoch)) == [(p, e) for p in ('1-generator', '2-gan') for e in range(3)]
    ck = read_checkpoint(whole/'checkpoint.pt')
    assert ck['loader']['at'] == 9 and ck['loader']['n'] == 22
    assert (ck['meta']['settings']['steps'], ck['meta']['settings']['valid_every']) == (18, 3)

def test_interrupted_inside_epochs_it_ends_like_a_whole_one(whole, data, tmp_path):
    "In the first epoch, twice in the second, which crosses from one pass to the next, and in the game"
    stops = (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 2, 1)
    train(recipe('generator', 'gan'), data, tmp_path/'run', *stops, **STEPS)
    assert_same(whole, tmp_path/'run')

def test_the_best_epoch_and_the_end_of_a_won_game_survive(data, tmp_path):
    "Callbacks that count over epochs go on counting; the game is won after any epoch, so the second is its last"
    first, second = recipe('generator', 'gan').phases
    counted = dict(noise=dict(every=2), accuracy=dict(n=6), stop=dict(patience=2, accuracy=1e-9))
    phases = [replace(first, epochs=4, lr=.5, best=True, patience=1),
              replace(second, epochs=5, best=True, callbacks=counted)]
    rec = replace(recipe('generator', 'gan'), phases=phases)
    train(rec, data, tmp_path/'whole')
    train(rec, data, tmp_path/'run', (0, 1, 0), (0, 1, 3), (1, 0, 2), (1, 1, 0))
    assert_same(tmp_path/'whole', tmp_path/'run')
    history = pd.read_csv(tmp_path/'whole'/'history.csv')
    assert (history.phase == '2-gan').sum() == 2 and {'sampled_acc'} <= set(history.columns)
    a, b = (read_checkpoint(tmp_path/o/'checkpoint.pt')['cbs'] for o in ('whole', 'run'))
    assert a['stop_when_won'] == b['stop_when_won'] == dict(won=2)
    for k in 'least', 'at', 'stale': assert a['keep_best'][k] == b['keep_best'][k]

def test_other_steps_are_refused(whole, data):
    with pytest.raises(ValueError, match=r'other settings \(steps\)'):
        run_recipe(recipe('generator', 'gan'), data, whole, resume=True, device='cpu', **STEPS | dict(steps=20))

def test_the_last_checkpoints_are_kept(data, tmp_path):
    train(recipe('generator'), data, tmp_path/'run', save_steps=2, keep=3)
    # two epochs of 5 steps, a checkpoint after 2, 4 and 5 of each: the last three
    assert sorted(o.name for o in (tmp_path/'run').glob('checkpoint*')) == \
           ['checkpoint-1-001-000002.pt', 'checkpoint-1-001-000004.pt', 'checkpoint.pt']
    names = [f'checkpoint{k}.pt' for k in ('-1-001-000002', '-1-001-000004', '')]
    assert [read_checkpoint(tmp_path/'run'/n)['loader']['at'] for n in names] == [7, 9, 10]

def test_validation_on_some_images(data, tmp_path):
    res = train(recipe('generator'), data, tmp_path/'some', valid_limit=2)
    assert res['metrics']['n'] == 5 # all at the end
    every = train(recipe('generator'), data, tmp_path/'all')
    for k, v in every['metrics'].items(): assert res['metrics'][k] == v, k # validation changes no training
    a, b = (pd.read_csv(tmp_path/o/'history.csv') for o in ('some', 'all'))
    assert (a.train_loss == b.train_loss).all() and (a.psnr_gray != b.psnr_gray).all()

@pytest.mark.parametrize('how', [dict(fp16=True), dict(accumulate=2), dict(fp16=True, accumulate=2)])
def test_precision_and_accumulation_in_a_game(how, data, tmp_path):
    rec = recipe('critic', 'gan')
    train(rec, data, tmp_path/'whole', save_steps=1, **how)
    train(rec, data, tmp_path/'run', (0, 0, 0), (1, 0, 1), (1, 1, 2), save_steps=1, **how)
    assert_same(tmp_path/'whole', tmp_path/'run')
    history = pd.read_csv(tmp_path/'whole'/'history.csv')
    assert np.isfinite(history.train_loss).all()
    ck = read_checkpoint(tmp_path/'whole'/'checkpoint.pt')
    if 'fp16' in how: assert ck['cbs']['float16']['critic']['scale'] <= 2**16
    settings = json.loads((tmp_path/'whole'/'settings.json').read_text())
    assert all(settings[k] == v for k, v in how.items())

def test_accumulation_needs_a_game_without_turns(data, tmp_path):
    rec = recipe('gan')
    rec = replace(rec, phases=[replace(rec.phases[0], callbacks=dict(turns=dict(n_critic=1, n_gen=1)))])
    with pytest.raises(ValueError, match='leave --accumulate out'): train(rec, data, tmp_path/'run', accumulate=2)

def test_a_log_of_steps(data, tmp_path):
    "It goes on where the run does"
    train(recipe('generator'), data, tmp_path/'run', (0, 1, 3), save_steps=3, logs=['csv'])
    rows = pd.read_csv(tmp_path/'run'/'log'/'1-generator'/'steps.csv')
    assert rows.step.tolist() == [0] # every tenth of ten steps
    assert rows.columns.tolist() == ['step', 'epoch', 'loss', 'lr_0', 'lr_1']
