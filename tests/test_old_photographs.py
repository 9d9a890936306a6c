"Old photographs: their recipes train from tar files, through film, with hints, and go on inside an epoch."
import io
import json
import tarfile
import warnings
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.optimizer import OptimWrapper
from PIL import Image
from safetensors.numpy import load_file
from torch.nn import functional as F
from typer.testing import CliRunner

from colorize_nb.cli.app import app, load_commands
from colorize_nb.color.bins import soft_encode
from colorize_nb.color.film import FilmSampler
from colorize_nb.colorizer.core import Colorizer
from colorize_nb.io.samples import sample
from colorize_nb.models.hints import simulate_hints
from colorize_nb.models.lite_hints import lite_hints
from colorize_nb.train import recipe as recipe_module
from colorize_nb.train.augment import Damage
from colorize_nb.train.callbacks import read_checkpoint
from colorize_nb.train.learner import colorize_learner
from colorize_nb.train.losses import MeanAndBinsLoss
from colorize_nb.train.recipe import get_recipe, list_recipes, load_recipes
from colorize_nb.train.run import run_recipe
from colorize_nb.train.shards import shard_dls

warnings.simplefilter('ignore')
load_commands()
OLD = [n for n in list_recipes() if n.startswith('old-')]

def pieces(name, n, size=48):
    "PNG files, as bytes, of `n` parts of a sample"
    for i in range(n):
        file = io.BytesIO()
        sample(name).crop((12*i, 6*i, 12*i + 120, 6*i + 120)).resize((size, size)).save(file, 'PNG')
        yield f'{name}_{i}.png', file.getvalue()

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "Two tar files of a source each, a folder of a third one, and a folder to validate on"
    root = tmp_path_factory.mktemp('data')
    for name, n in dict(china=8, flower=4).items():
        with tarfile.open(root/f'{name}.tar', 'w') as t:
            for file, content in pieces(name, n):
                member = tarfile.TarInfo(file)
                member.size = len(content)
                t.addfile(member, io.BytesIO(content))
    for folder, name, n in ('more', 'coffee', 4), ('valid', 'chelsea', 3):
        (root/folder).mkdir()
        for file, content in pieces(name, n): (root/folder/file).write_bytes(content)
    return root

def sources(data): return [f'{data}/*.tar', data/'more']

# The recipes

def test_trials_differ_in_one_thing():
    base = get_recipe('old-trial')
    def changed(r):
        return {f.name for f in fields(r) if getattr(r, f.name) != getattr(base, f.name)} - {'name', 'title'}
    assert {n: changed(get_recipe(n)) for n in OLD} == {
        'old-photographs': {'film', 'damage', 'hints', 'weights', 'phases', 'note'},
        'old-settled': {'film', 'damage', 'hints', 'weights', 'phases', 'note'},
        'old-gentle': {'film', 'damage', 'hints', 'weights', 'phases', 'note'},
        'old-trial': set(), 'old-trial-no-film': {'film', 'damage'},
        'old-trial-no-hints': {'hints'}, 'old-trial-no-bins': {'phases'}, 'old-trial-flat': {'weights'},
        'old-trial-96': {'size'}, 'old-trial-160': {'size'}}
    assert [(p.size, p.epochs) for p in get_recipe('old-photographs').phases] == [(96, 1), (128, 1)]
    assert get_recipe('old-trial-no-bins').phases[0].loss_args == dict(bins=0.)

def test_film_and_damage_are_known_by_their_fields():
    assert recipe_module._FILM == [f.name for f in fields(FilmSampler)]
    assert recipe_module._DAMAGE == [f.name for f in fields(Damage)]

@pytest.mark.parametrize('settings, words', [
    ('base: lite, film: {}', 'film has no effect here: it belongs to `shards: true`'),
    ('base: lite, damage: {}', 'damage has no effect here'),
    ('base: lite, weights: {a: 2.0}', 'weights has no effect here'),
    ('base: accurate, hints: true', 'hints has no effect here'),
    ('base: old-trial, film: {grane: [1.0, 2.0]}', "film has no setting 'grane'"),
    ('base: old-trial, film: film', 'expected dict or null for film'),
    ('base: old-trial, damage: {p_dust: 2.0}', 'damage.p_dust is a probability'),
    ('base: old-trial, weights: {a: -1.0}', 'weights.a: expected a number of 0 or more'),
    ('base: old-trial, weights: {a: much}', 'weights.a: expected a number of 0 or more'),
    ('base: old-trial, hints: {points: 3}', "hints has no setting 'points': take one of p, whole, most"),
    ('base: old-trial, hints: {whole: 2.0}', 'hints.whole is a probability'),
    ('base: old-trial, hints: 7', 'expected bool or dict for hints'),
    ('base: old-trial, resize: squish', 'resize has no effect here: shards are always cropped'),
    ('base: old-trial, split: class', 'split has no effect here'),
    ('base: old-trial, tfms: {blur: 1.0}', 'up to `film` and `damage`'),
    ('base: old-trial, boost: 1.2', 'hints show the true colours'),
    ('base: old-trial, phase: {only: true}', 'on all sources, got only'),
    ('base: old-trial, phase: {clip: 0.0}', 'expected a clip above 0'),
    ('base: old-trial, arch: lite_generator, hints: false', "the loss 'mean-and-bins' is for lite_hints"),
    ('base: lite, shards: true', "shards are for phases of kind 'generator' on all sources, got kind 'critic'")])
def test_nonsense_is_refused(settings, words, tmp_path):
    (tmp_path/'r.yaml').write_text(f'authors: a\nrecipes: {{r: {{title: t, {settings}}}}}')
    with pytest.raises(ValueError) as e: load_recipes(tmp_path/'r.yaml')
    assert words in str(e.value) and str(e.value).startswith('r.yaml: r') and '\n' not in str(e.value)

# What the learner trains is what a loop of its own would train

def first_layer(net): return next(m for m in net.encoder.modules() if isinstance(m, torch.nn.Conv2d)).weight

def test_hints_and_both_answers_are_learned_from(data):
    "A step by hand: hints go in beside L, Huber's loss and the cross-entropy are PyTorch's; SGD hides no factor"
    def start():
        torch.manual_seed(0)
        return lite_hints(nf=[16]*4).to(memory_format=torch.channels_last)
    def loaders():
        return shard_dls(sources(data), data/'valid', 48, size=32, bs=8, steps=1, hints=simulate_hints, plain=True)
    net, own, before = start(), start().train(), start()
    learn = colorize_learner(loaders(), net, MeanAndBinsLoss(), lr=.3, metrics=[], wd=0.,
                             opt_func=partial(OptimWrapper, opt=torch.optim.SGD))
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    opt = torch.optim.SGD(own.parameters(), .3)
    (l, hints, lab), = loaders().train
    ab, logits = own.predict(torch.Tensor(l), torch.Tensor(hints))
    true = torch.Tensor(lab)[:, 1:].reshape(8, 2, 8, 4, 8, 4).mean((3, 5))
    i, z = soft_encode(true*110)
    target = torch.zeros_like(logits).scatter_add(1, i, z)
    loss = F.huber_loss(ab, true, delta=2.3/110)/(2.3/110) + .03*F.cross_entropy(logits, target)
    loss.backward()
    opt.step()
    for (k, a), b in zip(net.state_dict().items(), own.state_dict().values()):
        assert torch.allclose(a, b, atol=1e-5), k
    assert (first_layer(before)[:, 1:] == 0).all() and (first_layer(net)[:, 1:] != 0).any() # hints were looked at
    for a, b in (net.head, before.head), (net.bins, before.bins): assert (a.weight - b.weight).abs().max() > 1e-4
    assert net.raw is False

# From tar files to a model

def tiny():
    "A recipe with a small network without pretrained weights, two phases of two epochs and one"
    r = get_recipe('old-trial')
    phases = [replace(r.phases[0], epochs=2, size=32), replace(r.phases[0], epochs=1)]
    return replace(r, model=None, config=dict(encoder='mobilenet_v2', nf=[16]*4), size=48, bs=4, phases=phases,
                   weights=dict(china=.5, coffee=2.))

class Interrupt(Callback):
    "Raise `KeyboardInterrupt` after a batch (from 0) of an epoch of a phase"
    order = 1000
    def __init__(self, phase, epoch, batch): self.at = phase, epoch, batch
    def after_batch(self):
        here = self.learn.history.phase, self.epoch, self.learn.checkpoint.done - 1
        if self.training and here == self.at: raise KeyboardInterrupt

def train(data, out, *stops, **kwargs):
    "Run the tiny recipe, interrupted at each of `stops` and resumed"
    how = dict(valid=data/'valid', save_every=0., log=lambda s: None) | kwargs
    for i, stop in enumerate([*stops, None]):
        cbs = [Interrupt(*stop)] if stop else []
        if not stop: return run_recipe(tiny(), sources(data), out, resume=i > 0, cbs=cbs, **how)
        with pytest.raises(KeyboardInterrupt): run_recipe(tiny(), sources(data), out, resume=i > 0, cbs=cbs, **how)

@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    "A run that was never interrupted"
    out = tmp_path_factory.mktemp('whole')/'run'
    return train(data, out), out

def test_what_a_run_leaves(whole, data):
    res, out = whole
    meta = json.loads((out/'model.json').read_text())
    assert (meta['format'], meta['inputs'], meta['outputs']) == (2, ['l', 'hints'], ['ab', 'logits'])
    history = pd.read_csv(out/'history.csv')
    assert list(zip(history.phase, history.epoch)) == [('1-generator', 0), ('1-generator', 1), ('2-generator', 0)]
    assert np.isfinite(history[['train_loss', 'valid_loss', 'psnr', 'psnr_gray']]).all(axis=None)
    split = json.loads((out/'split.json').read_text())
    assert split['valid'] == [f'valid/chelsea_{i}.png' for i in range(3)]
    assert sorted(split['train']) == sorted([*(f'china.tar/china_{i}.png' for i in range(8)),
                                             *(f'flower.tar/flower_{i}.png' for i in range(4)),
                                             *(f'more/coffee_{i}.png' for i in range(4))])
    assert res['metrics']['n'] == 3 and res['data'] == dict(train=16, valid=3, dropped=0)
    assert res['settings']['data'] == [f'{data}/*.tar', f'{data}/more']
    assert len(list(out.glob('preview_*.png'))) == 3
    gray = Image.fromarray(np.asarray(sample('chelsea').convert('L').resize((53, 37))))
    assert Colorizer.from_pretrained(out/'model.safetensors')(gray).size == (53, 37)

def test_weights_of_sources_make_an_epoch(whole):
    "8*.5 + 4 + 4*2 images: 4 batches of 4"
    ck = read_checkpoint(whole[1]/'checkpoint.pt')
    assert (ck['loader']['n'], ck['loader']['epoch'], ck['loader']['position']) == (16, 1, 0)

def test_an_interrupted_run_ends_like_a_whole_one(whole, data, tmp_path):
    "In the middle of an epoch, right before its end, twice in one epoch, and in the second phase"
    places = (0, 1), (0, 2), (1, 3) # epoch and batch
    train(data, tmp_path/'run', *(('1-generator', *o) for o in places), ('2-generator', 0, 0))
    want, got = (load_file(o/'model.safetensors') for o in (whole[1], tmp_path/'run'))
    assert [k for k in want if not np.array_equal(want[k], got[k])] == []
    for name in 'history.csv', 'metrics.json', 'split.json', 'model.json':
        assert (tmp_path/'run'/name).read_text() == (whole[1]/name).read_text(), name
    a, b = (read_checkpoint(o/'checkpoint.pt') for o in (whole[1], tmp_path/'run'))
    for k in a['cbs']['ema']['avg']: assert torch.equal(a['cbs']['ema']['avg'][k], b['cbs']['ema']['avg'][k]), k
    assert a['loader'] == b['loader'] and 'inside' not in b

def test_a_checkpoint_inside_an_epoch_says_so(data, tmp_path):
    lines = []
    with pytest.raises(KeyboardInterrupt):
        run_recipe(tiny(), sources(data), tmp_path/'run', valid=data/'valid', save_every=0., log=lines.append,
                   cbs=[Interrupt('1-generator', 0, 1)])
    ck = read_checkpoint(tmp_path/'run'/'checkpoint.pt')
    assert (ck['epoch'], ck['inside']['done'], ck['loader']['position']) == (0, 2, 2)
    assert any('16 pictures to train, 3 to validate' in s for s in lines)

def test_no_checkpoint_inside_before_its_time(data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_recipe(tiny(), sources(data), tmp_path/'run', valid=data/'valid', save_every=60., log=lambda s: None,
                   cbs=[Interrupt('1-generator', 0, 2)])
    assert not (tmp_path/'run'/'checkpoint.pt').exists()

def test_other_sources_are_refused_on_resuming(whole, data, tmp_path):
    with pytest.raises(ValueError, match='other settings .*data'):
        run_recipe(tiny(), [data/'more'], whole[1], valid=data/'valid', resume=True, log=lambda s: None)

@pytest.mark.slow
@pytest.mark.parametrize('name', OLD)
def test_every_recipe_trains_by_the_command_line(name, data, tmp_path):
    "From the packaged model, widened; a hundredth of the steps"
    args = ['train', name, '--data', f'{data}/*.tar', '--data', data/'more', '--valid', data/'valid', '--size', 32,
            '--batch-size', 4, '--scale', .01, '--out', tmp_path/'run', '--device', 'cpu']
    res = CliRunner().invoke(app, [str(a) for a in args])
    assert res.exit_code == 0, res.output
    assert 'started from the model default, widened for hints and bins' in res.output
    assert json.loads((tmp_path/'run'/'model.json').read_text())['format'] == 2
    assert len(pd.read_csv(tmp_path/'run'/'history.csv')) == len(get_recipe(name).phases)
