"Training: recipes are what they were, and train; a killed run ends like a whole one; pages show what its plan made."
import json
import os
import random
import shutil
import signal
import sys
import time
import warnings
from dataclasses import asdict, fields, replace
from importlib import import_module
from inspect import signature
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors, save_file
from typer.testing import CliRunner

import warm
from colorize_nb.cli.app import app, load_commands
from colorize_nb.color.bins import ab_bins
from colorize_nb.color.film import FilmSampler
from colorize_nb.colorizer.core import Colorizer
from colorize_nb.io.samples import sample, samples
from colorize_nb.models.hints import simulate_hints
from colorize_nb.models.registry import ARCHS, save_generator
from colorize_nb.train.augment import Augment, Damage
from colorize_nb.train.callbacks import read_checkpoint
from colorize_nb.train.losses import GANLoss
from colorize_nb.train.recipe import (SCHEDULES, Phase, Recipe, load_recipes, list_recipes, stored_recipe,
                                        training_values, variant)
from colorize_nb.models.critics import build_critic
from colorize_nb.train.run import CALLBACKS, phase_loss, run_recipe

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'experiments'))
from run_systems import KEPT, PLANS

warnings.simplefilter('ignore')
load_commands()
ALL = list_recipes()

# Recipes are what they were

REWORDED = { # in sources and notes: papers by authors, notebooks by module
    ' (2021, paper 000)': ' (2021)', ' (paper 001)': '', '(2022, paper 002)': '(2022)', '(2019, paper 003)': '(2019)',
    "(their decay is L2 inside Adam, ours decoupled)": '(whose decay is L2 inside Adam)',
    ' (paper 004)': '', 'answer to paper 002': 'answer to Minářová (2022)',
    'since paper 004 names none': 'since Li et al. name none', "are paper 004's": "are Li et al.'s",
    "ours: paper 004's": "ours: Li et al.'s", 'see 13b1_vae_losses': 'see train.losses'}

def before():
    "The 48 recipes of November 2026, when they were Python, with the words that have changed since"
    text = (Path(__file__).parent/'recipes_2026-11.json').read_text(encoding='utf-8')
    for old, new in REWORDED.items():
        assert old in text
        text = text.replace(old, new)
    for r in (res := json.loads(text)):
        for p in r['phases']: p['callbacks'] = p.pop('watch')
    return {r['name']: r for r in res}

BEFORE = before()

def mended(old):
    "What a recipe is now: as it was, but for faults that were mended since"
    new = json.loads(json.dumps(old)) | dict(shards=False, film=None, damage=None, hints=False, weights={})
    for p in new['phases']:
        p['clip'] = None
        if 'noise' in p['callbacks']: p['callbacks']['noise']['sides'] = 'both' # on the fakes alone it helps the critic
        # Zhang et al.'s solver is Caffe's, whose decay is L2; decoupled it did nothing at their rate
        p['decouple_wd'] = not (p['wd'] == 1e-3 and p['loss'] in ('bins', 'l2'))
    new['title'] = new['title'].replace('packaged accurate model', 'packaged model') # which is another one now
    if new['name'] in ('nogan', 'nogan-artistic'): new['bs'] = 16 # was 8, which no phase looked at
    return new

def test_the_same_names_in_the_same_order():
    assert len(BEFORE) == 48 and list(BEFORE) == [n for n in ALL if n in BEFORE]

@pytest.mark.parametrize('name', BEFORE)
def test_a_recipe_is_what_it_was(name):
    assert json.loads(json.dumps(asdict(ALL[name]))) == mended(BEFORE[name])
    assert training_values(stored_recipe(mended(BEFORE[name]))) == training_values(ALL[name])

def test_what_was_mended():
    changed = [n for n in BEFORE if training_values(stored_recipe(BEFORE[n])) != training_values(ALL[n])]
    zhangs = [n for n in BEFORE if n.startswith('zhang-')]
    assert len(zhangs) == 7 and changed == [n for n in BEFORE if n in (
        'nogan', 'nogan-artistic', 'paintings-zhang', 'flowers-gan', 'flowers-gan-fixed', 'flowers-gan-noise', *zhangs)]

def test_noise_of_a_stored_run_is_what_it_was():
    assert stored_recipe(BEFORE['flowers-gan']).phases[0].callbacks['noise'] == dict(every=5, sides='fakes')
    assert ALL['flowers-gan'].phases[0].callbacks['noise'] == dict(every=5, sides='both')
    assert CALLBACKS['noise']().sides == 'both'

def test_stored_runs_can_be_read():
    files = sorted(KEPT.glob('*/metrics.json'))
    assert len(files) > 20
    for f in files:
        stored = json.loads(f.read_text(encoding='utf-8'))['settings']['recipe']
        assert [p.kind for p in stored_recipe(stored).phases] == [p['kind'] for p in stored['phases']]

OURS = {a: module for a, module in ARCHS.items() if module.startswith('colorize_nb')} # not those of other tests

@pytest.mark.parametrize('arch', OURS)
def test_an_encoder_is_refused_where_there_is_none(arch, tmp_path):
    phases = 'phases: [{kind: generator, epochs: 1, lr: 1.0e-3}]'
    encoder = dict(zhang_resnet50='resnet50', unet_generator='resnet18').get(arch, 'mobilenet_v2')
    recipe = f'{{title: t, data: d, arch: {arch}, encoder: {encoder}, {phases}}}'
    (tmp_path/'r.yaml').write_text(f'authors: a\nrecipes: {{r: {recipe}}}')
    has_one = bool({'pretrained', 'kwargs'} & set(signature(getattr(import_module(ARCHS[arch]), arch)).parameters))
    if has_one: assert load_recipes(tmp_path/'r.yaml')['r'].encoder == encoder
    else:
        with pytest.raises(ValueError, match='r.yaml: r: encoder has no effect'): load_recipes(tmp_path/'r.yaml')

# Recipes name what there is, and train

PUBLISHED = '''paintings-cgan paintings-cgan-l2 paintings-artist paintings-zhang unet-gan-scratch unet-gan-pretrained
    finetune art-cnn art-autoencoder art-vae art-cvae flowers-autoencoder flowers-gan zhang-l2 zhang-classification
    zhang-resnet50 pix2pix nogan'''.split() # the systems of five papers and two programs
OTHERS = '''lite lite-classification lite-l2 art-cnn-lab art-vae-lab flowers-autoencoder-fixed flowers-gan-fixed
    flowers-gan-spectral flowers-gan-smooth'''.split() # variants in which other code runs
QUICK = 'lite', 'art-cnn', 'flowers-gan' # all kinds of phases, raw answers, callbacks; the others are slow

def build(r): # without weights: counted, not computed
    "The recipe's generator on the meta device"
    ab_bins() # remembered: it cannot be computed there
    with torch.device('meta'):
        make = getattr(import_module(ARCHS[r.arch]), r.arch)
        return make(**r.config, **({'pretrained': False} if 'pretrained' in signature(make).parameters else {}))

@pytest.mark.parametrize('name', ALL)
def test_what_a_recipe_names_is_there(name):
    r = ALL[name]
    net = build(r)
    assert (net.arch, r.parameters) == (r.arch, sum(p.numel() for p in net.parameters()))
    assert json.loads(json.dumps(asdict(r)))['name'] == name
    Augment.create(r.tfms)
    with torch.device('meta'): build_critic(**r.critic)
    for p in r.phases:
        assert callable(phase_loss(p)) and p.epochs > 0 and p.schedule in SCHEDULES
        GANLoss(p.gan_loss, p.smooth, p.flip)
        for k, v in p.callbacks.items(): CALLBACKS[k](**v)

def test_all_kinds_of_training_are_tried():
    assert len(PUBLISHED) == 18 and set(PUBLISHED + OTHERS) <= set(ALL) and set(QUICK) <= set(PUBLISHED + OTHERS)
    tried = {(ALL[n].arch, p.loss) for n in PUBLISHED + OTHERS for p in ALL[n].phases}
    untried = {('conv_autoencoder', 'l2'), ('zhang_resnet50', 'l2'),
               ('lite_hints', 'mean-and-bins')} # in test_old_photographs
    assert {(r.arch, p.loss) for r in ALL.values() for p in r.phases} == tried | untried

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "Crops of two photographs, a folder for each: of each 2 to learn from, 1 to validate on"
    root = tmp_path_factory.mktemp('photos')
    for name in samples()[:2]:
        im = sample(name)
        for part, n in (('train', 2), ('valid', 1)):
            (root/part/name).mkdir(parents=True)
            for i in range(n):
                im.crop((60*i, 20*i, 60*i + 180, 20*i + 180)).resize((72, 72)).save(root/part/name/f'{i}.jpg')
    return root

def tiny(r):
    "The recipe without augmentation and pretrained weights, with few steps of one batch, at a rate at which they show"
    first = replace(r.phases[0], epochs=4 if r.parameters > 5e6 else 12, lr=max(r.phases[0].lr, 2e-4), enc_lr=None,
                    freeze=False, schedule='flat', callbacks={})
    rest = [replace(p, epochs=1, n_store=4) for p in r.phases[1:]]
    return replace(r, encoder=None, tfms=dict(hflip=0., scale=(1., 1.), ratio=(1., 1.)), phases=[first, *rest])

class Distance(Callback):
    "Record what the generator minimises in its first phase, without the critic's opinion, which may rise"
    def __init__(self): self.all = []
    def after_loss(self):
        if not self.training or not self.learn.history.phase.startswith('1-'): return
        parts = getattr(self.loss_func, 'parts', {})
        self.all.append(float(parts.get('content', self.learn.loss.detach())))

TRAINED = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in PUBLISHED + OTHERS]

@pytest.mark.parametrize('name', TRAINED)
def test_recipe_trains(name, photos, tmp_path):
    "The real network on a few small photographs: the loss falls, and the model that is left colours an odd size"
    r, dist, out = tiny(ALL[name]), Distance(), tmp_path/'run'
    with patch('colorize_nb.train.run.Checkpoint.after_epoch', lambda self: None): # hundreds of megabytes an epoch
        res = run_recipe(r, photos, out, size=32, bs=4, log=lambda s: None, cbs=[dist])
    assert len(dist.all) == r.phases[0].epochs and dist.all[-1] < dist.all[0]
    left = {p.name for p in out.iterdir()}
    assert {'model.safetensors', 'model.json', 'history.csv', 'metrics.json', 'split.json'} <= left
    assert any(f.startswith('preview_') for f in left)
    phases = list(dict.fromkeys(pd.read_csv(out/'history.csv').phase))
    assert phases == [f'{i + 1}-{p.kind}' for i, p in enumerate(r.phases)]
    assert res['metrics']['n'] == 2 and res['metrics']['psnr'] > 0
    gray = sample('chelsea').convert('L').resize((53, 37))
    assert Colorizer.from_pretrained(out/'model.safetensors')(gray).size == (53, 37)
    (out/'model.safetensors').unlink() # 100 MB each

@pytest.mark.skipif(torch.cuda.is_available(), reason='it is there')
def test_a_device_that_is_not_there(photos, tmp_path):
    with pytest.raises(ValueError, match='no cuda on this machine'):
        run_recipe('lite', photos, tmp_path/'run', device='cuda', log=lambda s: None)
    assert not (tmp_path/'run').exists() # no empty folder is left

# A killed run ends like a whole one

PHASES = dict([('all-phases', 4), ('lite', 3), ('unet-gan-pretrained', 2), ('nogan', 7)]) # how many
ENV = {**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE'}
forks = pytest.mark.skipif(not hasattr(os, 'fork'), reason='a job is a fork of a process that imported all')

def run_jobs(jobs, tmp_path):
    "Run the jobs in a process of their own; return the exit code and the seconds of each"
    (tmp_path/'jobs.json').write_text(json.dumps(jobs, default=str))
    p = warm.run(tmp_path/'jobs.json', script=Path(__file__).with_name('killed_runs.py'), env=ENV)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout), p.stderr

def run_killed(recipe, data, tmp_path, kills):
    "Run a recipe once whole, and once killed at each of `kills` in turn and resumed; both must end alike"
    job = dict(recipe=recipe, data=data, out=tmp_path/'whole')
    killed = [job | dict(out=tmp_path/'killed', resume=i > 0, kill=k) for i, k in enumerate([*kills, None])]
    res, errors = run_jobs([job, *killed], tmp_path)
    codes = [code for code, _ in res]
    assert codes[0] == codes[-1] == 0 and set(codes[1:-1]) <= {9, 2, -signal.SIGKILL, 0}, (codes, errors)
    assert_alike(tmp_path/'whole', tmp_path/'killed', kills)
    return codes[1:-1], errors

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "Crops of the packaged photographs, as files in `train` and `valid`."
    root = tmp_path_factory.mktemp('data')
    for split, names in (('train', samples()[:-2]), ('valid', samples()[-2:])):
        (root/split).mkdir()
        for n in names:
            im = sample(n)
            w, h = im.size
            for i in range(4):
                box = i*w//8, i*h//8, w*(i + 4)//8, h*(i + 4)//8
                im.crop(box).resize((96, 96)).save(root/split/f'{n}_{i}.jpg')
    return root

def leaves(o, path=''):
    "(path, value) of everything in nested dicts and lists"
    if not isinstance(o, (dict, list, tuple)): return [(path, o)]
    items = o.items() if isinstance(o, dict) else enumerate(o)
    return [leaf for k, v in items for leaf in leaves(v, f'{path}/{k}')]

def same(a, b): return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b or a != a and b != b

def assert_alike(whole, killed, when):
    "The same weights, moments, averages, counters and figures to the bit, and the same files"
    a, b = (dict(leaves(read_checkpoint(d/'checkpoint.pt'))) for d in (whole, killed))
    assert a.keys() == b.keys() and [k for k in a if not same(a[k], b[k])] == [], when
    want, got = (load_file(d/'model.safetensors') for d in (whole, killed))
    assert [k for k in want if not (want[k] == got[k]).all()] == [], when
    for name in ('history.csv', 'metrics.json', 'split.json', 'model.json'):
        assert (whole/name).read_text() == (killed/name).read_text(), (name, when)
    assert {p.name for p in whole.iterdir()} == {p.name for p in killed.iterdir()}, when

@forks
def test_a_killed_run_ends_like_a_whole_one(data, tmp_path):
    "Killed in three phases, and once no checkpoint could be written: no half of it stays"
    kills = [dict(event='after_batch', phase=1, epoch=1), dict(event='after_batch', phase=3, epoch=1, batch=1),
             dict(bytes=1 << 20), dict(event='after_epoch', phase=4, epoch=1, order=69, training=False)]
    codes, errors = run_killed('all-phases', data, tmp_path, kills)
    assert codes == [9, 9, 2, 9]
    assert 'cannot write' in errors and 'File too large): make room there; the last checkpoint is whole' in errors

@forks
@pytest.mark.slow
@pytest.mark.parametrize('recipe', ['lite', 'unet-gan-pretrained', 'nogan'])
def test_killed_at_every_place(recipe, data, tmp_path):
    "In each phase: in its first epoch, between the epoch's figures and its checkpoint, and after that"
    places = [dict(event='after_pred', batch=1), dict(event='after_epoch', order=69, training=False),
              dict(event='after_epoch', order=71, training=False)]
    kills = [place | dict(phase=i + 1) for i in range(PHASES[recipe]) for place in places]
    codes, _ = run_killed(recipe, data, tmp_path, kills)
    assert codes.count(9) >= 2*PHASES[recipe], codes # after the last epoch of a phase nothing is left of it to die in

@forks
@pytest.mark.slow
@pytest.mark.parametrize('recipe', ['lite', 'unet-gan-pretrained', 'nogan'])
@pytest.mark.parametrize('how', ['line', 'seconds'])
def test_killed_at_random(recipe, how, data, tmp_path):
    "Killed at random lines of our code, and with SIGKILL at random moments; others each time the test runs"
    counted, _ = run_jobs([dict(recipe=recipe, data=data, out=tmp_path/'first', kill=dict(line=0))], tmp_path)
    last = int((tmp_path/'first.lines').read_text()) if how == 'line' else counted[0][1]
    rng = random.Random(time.time_ns())
    kills = [{how: rng.uniform(.1, .6)*last} for _ in range(6)]
    if how == 'line': kills = [{how: round(k[how])} for k in kills]
    codes, _ = run_killed(recipe, data, tmp_path, kills)
    assert set(codes) - {0}, (codes, kills)

# The plan of experiments/run_systems.py: what it runs is there, and what the pages show came from it

KNOWN = {o.name: o for o in PLANS}
RUNS = sorted(p.parent.name for p in KEPT.glob('*/run.json'))

def test_plans():
    assert len(KNOWN) == len(PLANS) and {o.recipe for o in PLANS} <= set(ALL)
    assert 'lite' not in KNOWN # that folder is the packaged model's

@pytest.mark.parametrize('name', ['paintings-genre', 'art-vae', 'lite-600'])
def test_commands_are_understood(name, tmp_path, monkeypatch):
    o = KNOWN[name]
    (tmp_path/'data'/o.data).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with patch('colorize_nb.train.run.run_recipe') as run:
        res = CliRunner().invoke(app, o.command('data', 'out', 96, 2)[1:])
    assert res.exit_code == 0, res.output
    assert run.call_args.args == (o.recipe, f'data/{o.data}', Path('out')/o.name)
    want = dict(size=96, epochs=2*o.epochs, limit=o.limit, bs=o.bs, bf16=o.bf16, only=o.only)
    assert {k: run.call_args.kwargs[k] for k in want} == want

@pytest.mark.parametrize('name', RUNS)
def test_what_is_kept_came_from_its_plan(name):
    kept, run = KEPT/name, json.loads((KEPT/name/'run.json').read_text())
    assert run['command'] == ' '.join(KNOWN[name].command('../shared/data', 'runs', 64, 1))
    assert run['processor_seconds'] > 0
    info = json.loads((kept/'metrics.json').read_text())
    assert info['recipe'] == KNOWN[name].recipe and info['settings']['data'] == f'../shared/data/{KNOWN[name].data}'
    assert info['size'] == (KNOWN[name].size or 64)
    epochs = sum(p['epochs'] for p in info['settings']['recipe']['phases'])
    assert epochs == len((kept/'history.csv').read_text().splitlines()) - 1 # no epoch is missing
    assert Image.open(kept/'samples.jpg').size == (792, 99)

def test_judged_alike():
    own = {'gray', 'gray, luma', 'mean colour', 'small', 'lite-classification-plain-mean'}
    for f in (KEPT/'judged').glob('*.json'):
        d = json.loads(f.read_text())
        assert 'stretched at 64x64' in d['protocol']['pictures'] and d['protocol']['seed'] == 42
        assert set(d['methods']) - own <= set(RUNS) and d['failures'] == 0

# Every setting of a recipe is obeyed, or refused

class Small(torch.nn.Module):
    "A generator with an encoder, as small as can be"
    def __init__(self, arch, width, depth, weights):
        super().__init__()
        self.arch, self.config = arch, dict(width=width)
        self.encoder = torch.nn.Sequential(torch.nn.Conv2d(1, width, 3, padding=1), torch.nn.BatchNorm2d(width),
                                           torch.nn.ReLU())
        self.decoder = torch.nn.Sequential(*(torch.nn.Conv2d(width, width, 1) for _ in range(depth)),
                                           torch.nn.Conv2d(width, 2, 1))
        if weights: self.encoder.load_state_dict(load_tensors(weights))

    def forward(self, l, hints=None):
        x = l if hints is None else l + hints[:, :1]
        return torch.cat([l, self.decoder(self.encoder(x)).tanh()], 1)

def small_generator(width=4, pretrained=False, weights=None): return Small('small_generator', width, 0, weights)
def deep_generator(width=4, pretrained=False, weights=None): return Small('deep_generator', width, 1, weights)

@pytest.fixture(scope='module')
def wide(tmp_path_factory):
    "Small images that are not square: in `split` a folder each for training and validation, in `flat` for each class"
    root = tmp_path_factory.mktemp('wide')
    for k, name in enumerate(samples()[:2]):
        for i in range(6):
            im = sample(name).crop((40*i, 10*i, 40*i + 160, 10*i + 100)).resize((40, 25))
            for f in (root/'flat'/f'{k}', *([root/'split'/('train' if i < 2 else 'valid')/f'{k}'] if i < 3 else ())):
                f.mkdir(parents=True, exist_ok=True)
                im.save(f/f'{i}.png')
    return root

@pytest.fixture(scope='module')
def small_archs():
    with patch.dict(ARCHS, small_generator=__name__, deep_generator=__name__): yield

def outcome(folder, data, phase, rec):
    "What a run of one phase leaves: weights of both networks as trained and as stored, the history, and the name"
    base = dict(kind='generator', epochs=2, lr=1e-2, n_store=4)
    known = dict(arch='small_generator', critic=dict(n_layers=1, nf=4, norm=None), size=24, bs=2,
                 tfms=dict(hflip=0., scale=(1., 1.)))
    phases = [Phase(**base | phase)]*rec.pop('times', 1)
    recipe, out = Recipe(**dict(name='r', title='t', source='s', data='d', phases=phases) | known | rec), folder/'out'
    shutil.rmtree(out, ignore_errors=True)
    run_recipe(recipe, data, out, log=lambda s: None)
    nets = read_checkpoint(out/'checkpoint.pt')['nets'] # before the best epoch's weights are put in
    trained = {(k, n): v.numpy().tobytes() for k, net in nets.items() for n, v in net.items()}
    stored = {k: v.tobytes() for k, v in load_file(out/'model.safetensors').items()}
    return trained, stored, (out/'history.csv').read_text(), json.loads((out/'model.json').read_text())['name']

GENERATOR, CRITIC, GAN = (('generator',), ('critic',), ('gan',))
ANY, COLOURS, GAME = GENERATOR + CRITIC + GAN, GENERATOR + GAN, CRITIC + GAN
WORDS = 'words' # nothing but a description
PHASE = dict( # field -> another value, the kinds of phases that obey it, what must be set beside it
    kind=('gan', GENERATOR), epochs=(3, ANY), lr=(2e-2, ANY), enc_lr=(1e-4, COLOURS), schedule=('one_cycle', ANY),
    loss=('l2', COLOURS), loss_args=(dict(kind='l2'), COLOURS, dict(loss='rgb-l1-lab')),
    delta=(40., COLOURS, dict(loss='huber')), extra=(dict(colorfulness=1.), COLOURS), freeze=(True, COLOURS),
    freeze_norm=(True, COLOURS), wd=(.1, COLOURS), decouple_wd=(False, COLOURS, dict(wd=.1)),
    clip=(1e-3, GENERATOR),
    betas=((.5, .9), ANY), gan_loss=('lsgan', GAME), smooth=(.2, GAME), flip=(.5, GAME), lambda_content=(1., GAN),
    critic_lr=(1e-3, GAN), critic_betas=((0., .9), GAN), n_store=(2, CRITIC), size=(16, ANY), bs=(1, ANY),
    fraction=(.5, ANY), only=(True, ANY), tfms=(dict(hflip=1., scale=(1., 1.)), ANY),
    best=(True, COLOURS, dict(lr=.5, epochs=4)), patience=(1, COLOURS, dict(lr=.5, epochs=6, best=True)),
    callbacks=(dict(noise=dict(every=1)), GAN), note=('other', WORDS))
SHARDS = dict(shards=True)
RECIPE = dict( # field -> other values, the kind of phase it is tried in, what must be set beside it
    name=(dict(name='other'), 'generator'), title=(dict(title='other'), WORDS), source=(dict(source='other'), WORDS),
    data=(dict(data='other'), WORDS), phases=(dict(times=2), 'generator'),
    arch=(dict(arch='deep_generator'), 'generator'), config=(dict(config=dict(width=6)), 'generator'),
    parameters=(dict(parameters=7), WORDS), encoder=(dict(encoder='theirs'), 'generator'),
    critic=(dict(critic=dict(n_layers=1, nf=8, norm=None)), 'gan'), size=(dict(size=16), 'generator'),
    bs=(dict(bs=1), 'generator'), tfms=(dict(tfms=dict(hflip=1., scale=(1., 1.))), 'generator'),
    resize=(dict(resize='squish'), 'generator'), split=(dict(split='class'), 'generator'),
    shards=(SHARDS, 'generator'), film=(dict(film={}), 'generator', SHARDS),
    damage=(dict(damage=dict(p_dust=1.)), 'generator', SHARDS), hints=(dict(hints=True), 'generator', SHARDS),
    weights=(dict(weights={'0': 3.}), 'generator', SHARDS),
    boost=(dict(boost=1.5), 'critic'), ema=(dict(ema=.9), 'generator'), model=(dict(model='theirs'), 'generator'),
    note=(dict(note='other'), WORDS))

@pytest.fixture(scope='module')
def plain(wide, small_archs, tmp_path_factory):
    "Outcomes by settings: each run is made once"
    runs, folder = {}, tmp_path_factory.mktemp('runs')
    def run(place='split', phase={}, **rec):
        key = repr((place, phase, rec))
        if key not in runs: runs[key] = outcome(folder, wide/place, dict(phase), rec)
        return runs[key]
    return run

def test_every_setting_has_an_entry():
    assert {f.name for f in fields(Phase)} == set(PHASE) and {f.name for f in fields(Recipe)} == set(RECIPE)

def test_the_same_settings_train_the_same_weights(wide, small_archs, tmp_path):
    for kind in ANY:
        one, two = (outcome(tmp_path, wide/'split', dict(kind=kind), {}) for _ in range(2))
        assert one == two

@pytest.mark.parametrize('field', PHASE)
def test_a_setting_of_a_phase_is_obeyed_or_refused(field, plain, tmp_path):
    value, kinds, *beside = PHASE[field]
    beside = beside[0] if beside else {}
    for kind in ANY:
        one = dict(kind=kind) | beside
        if kinds == WORDS: assert plain(phase=one) == plain(phase=one | {field: value})
        elif kind in kinds: assert plain(phase=one) != plain(phase=one | {field: value}), kind
        elif field != 'kind':
            phase = dict(kind=kind, epochs=2, lr=.01) | {field: value}
            recipe = dict(title='t', data='d', arch='lite_generator', phases=[phase])
            (tmp_path/'r.yaml').write_text(json.dumps(dict(authors='a', recipes=dict(r=recipe))))
            with pytest.raises(ValueError, match=f'phase 1: {field} has no effect in a phase of kind'):
                load_recipes(tmp_path/'r.yaml')

@pytest.mark.parametrize('field', RECIPE)
def test_a_setting_of_a_recipe_is_obeyed(field, plain, monkeypatch, tmp_path):
    values, kind, *beside = RECIPE[field]
    beside = beside[0] if beside else {}
    data, one = 'flat' if field == 'split' else 'split', dict(kind='generator' if kind == WORDS else kind)
    zero = {k: torch.zeros_like(v) for k, v in small_generator().encoder.state_dict().items()}
    save_file(zero, tmp_path/'theirs.safetensors')
    monkeypatch.setenv('COLORIZE_NB_WEIGHTS', str(tmp_path))
    if field == 'model':
        gen = small_generator()
        gen.encoder.load_state_dict(zero)
        values = dict(model=str(save_generator(gen, tmp_path/'model.safetensors', {})))
    if kind == WORDS: assert plain(data, one) == plain(data, one, **values)
    else: assert plain(data, one, **beside) != plain(data, one, **beside | values)

IDLE = [ # settings that cannot have an effect: of the phase, of the recipe, and what the sentence says
    ('loss: l2, delta: 9.0', '', "delta has no effect here: .* 'l2' has none"),
    ('loss_args: {kind: l2}', '', "loss_args has no effect here: .* 'l1' takes none"),
    ('extra: {l2: 0.0}', '', 'extra has no effect here: a weight of 0'),
    ('freeze: true, enc_lr: 0.001', '', 'enc_lr has no effect here: the encoder is frozen'),
    ('best: true, epochs: 1', '', 'best has no effect here: there is one epoch'),
    ('patience: 1', '', 'patience has no effect here: it belongs to `best: true`'),
    ('best: true, patience: 2', '', 'patience has no effect here: the phase ends before'),
    ('decouple_wd: false', '', 'decouple_wd has no effect here: it belongs to `wd`'),
    ('lr: 1.0e-5, wd: 1.0e-3', '', 'wd has no effect here: 1e-08 of a weight is less'),
    ('kind: gan, gan_loss: hinge, smooth: 0.1', '', 'smooth has no effect here: hinge'),
    ('kind: gan, lambda_content: 0.0, loss: l2', '', 'loss has no effect here: `lambda_content` is 0'),
    ('kind: gan, callbacks: {noise: {every: 5}}', '', 'noise has no effect here: no epoch 5 comes'),
    ('kind: gan, callbacks: {stop: {}}', '', 'callbacks.stop waits for what `accuracy` measures'),
    ('kind: gan, callbacks: {turns: {}, threshold: {}}', '', 'turns has no effect here: turns and threshold cannot'),
    ('tfms: {p_rotate: 0.5}', '', 'p_rotate has no effect here: nothing is rotated'),
    ('tfms: {p_film: 0.5}', '', 'p_film has no effect here: no fault of film'),
    ('tfms: {scale: [1.0, 1.0], ratio: [0.5, 2.0]}', '', 'ratio has no effect here: no random part'),
    ('tfms: {ratio: [0.5, 2.0]}', ', resize: stretch', 'ratio has no effect here: no random part'),
    ('enc_lr: 0.001', ', arch: plain_cnn', 'enc_lr has no effect here: plain_cnn has no encoder'),
    ('freeze: true', ', arch: plain_cnn', 'freeze would keep the whole network from learning'),
    ('freeze_norm: true', ', arch: conv_vae', 'freeze_norm has no effect here: conv_vae has no encoder with batch'),
    ('bs: 4', ', bs: 8', 'bs has no effect here: each phase has its own'),
    ('tfms: {hflip: 0.5}', ', tfms: {hflip: 0.1}', 'tfms has no effect here: each phase has its own'),
    ('wd: 0.0', ', critic: {nf: 8}', 'critic has no effect here: no phase has a critic'),
    ('kind: critic', ', ema: 0.9', 'ema has no effect here: no phase trains the generator'),
    ('wd: 0.0', ', encoder: mobilenet_v2, model: default', 'encoder has no effect here: the weights come from `model`'),
    ('kind: gan, callbacks: {noise: {sides: fakes}}', '', 'noise has no effect here: no epoch 5 comes'),
    ('wd: 0.0', ', encoder: resnet34', 'the encoder of this network is mobilenet_v2: it cannot start from resnet34'),
    ('tfms: {blur: 1.0, p_film: 0.0}', '', 'blur has no effect here: `p_film` is 0'),
    ('tfms: {rotate: 5.0, p_rotate: 0.0}', '', 'rotate has no effect here: `p_rotate` is 0'),
    ('kind: gan, callbacks: {noise: {every: 1, std: 0.0}}', '', 'noise has no effect here: its std is 0'),
    ('kind: gan, callbacks: {accuracy: {}, stop: {patience: 3}}', '', 'stop has no effect here: the phase ends before'),
    ('kind: gan, callbacks: {threshold: {thresh: 1.0}}', '', 'threshold has no effect here: no accuracy is above'),
    ('wd: 0.0', ', shards: true, film: {p_grain: 0.0, grain: [1, 2]}', 'grain has no effect here: `p_grain` is 0'),
    ('wd: 0.0', ', shards: true, film: {p_plain: 1.0, toe: [0.1, 0.2]}', 'toe has no effect here: `p_plain` is 1'),
    ('wd: 0.0', ', shards: true, damage: {p_dust: 0.0, dust: 5}', 'dust has no effect here: `p_dust` is 0')]

@pytest.mark.parametrize('phase,recipe,words', IDLE)
def test_a_setting_without_effect_is_refused(phase, recipe, words, tmp_path):
    phases = f'phases: [{{kind: generator, epochs: 3, lr: 0.01, {phase}}}]'
    (tmp_path/'r.yaml').write_text('authors: a\nrecipes: {r: {title: t, data: d, arch: lite_generator, '
                                   f'{phases}{recipe}}}}}')
    with pytest.raises(ValueError, match=f'r.yaml: r.*{words}') as e: load_recipes(tmp_path/'r.yaml')
    assert '\n' not in str(e.value)

IMPOSSIBLE = [ # values that no training could obey: of the phase, of the recipe, and what the sentence says
    ('size: 0', '', 'expected 16 or more for size, got 0'), ('bs: 0', '', 'expected 1 or more for bs'),
    ('enc_lr: 0.0', '', 'expected more than 0 for enc_lr'), ('wd: -1.0', '', 'expected 0 or more for wd'),
    ('loss: huber, delta: -1.0', '', 'expected more than 0 for delta'),
    ('best: true, patience: 0', '', 'expected 1 or more for patience'),
    ('betas: [0.5]', '', 'expected two numbers for betas'), ('betas: [1.0, 0.9]', '', 'less than 1 for betas'),
    ('kind: gan, flip: 2.0', '', 'expected numbers from 0 to 1 for flip'),
    ('kind: gan, smooth: 1.0', '', 'less than 1 for smooth'), ('kind: gan, critic_lr: 0.0', '', 'for critic_lr'),
    ('kind: gan, lambda_content: -1.0', '', 'for lambda_content'), ('kind: critic, n_store: 1', '', 'for n_store'),
    ('kind: gan, callbacks: {turns: {n_gen: 0}}', '', 'expected 1 or more for callbacks.turns.n_gen'),
    ('kind: gan, callbacks: {noise: {evry: 2}}', '', "callbacks.noise has no setting 'evry'"),
    ('kind: gan, callbacks: {noise: {sides: left}}', '', "no sides 'left' in callbacks.noise"),
    ('kind: gan, callbacks: {accuracy: {}, stop: {accuracy: 2.0}}', '', 'for callbacks.stop.accuracy'),
    ('tfms: {hflp: 0.5}', '', "tfms has no setting 'hflp'"), ('tfms: {hflip: 2.0}', '', 'for tfms.hflip'),
    ('wd: 0.0', ', tfms: {scale: [1.0, 0.5]}', 'expected the smaller number first for tfms.scale'),
    ('wd: 0.0', ', tfms: {lightness: much}', 'expected a number for tfms.lightness'),
    ('wd: 0.0', ', ema: 1.0', 'less than 1 for ema'), ('wd: 0.0', ', boost: 0.0', 'expected more than 0 for boost'),
    ('wd: 0.0', ', shards: true, damage: {dust: much}', 'expected numbers for damage.dust')]

@pytest.mark.parametrize('phase,recipe,words', IMPOSSIBLE)
def test_a_value_that_cannot_be_is_refused(phase, recipe, words, tmp_path):
    test_a_setting_without_effect_is_refused(phase, recipe, words, tmp_path)

def test_names_inside_settings_are_those_of_what_obeys_them():
    "The loader knows them without PyTorch"
    import colorize_nb.train.recipe as loader
    for known, obeys in ((loader._TFMS, Augment), (loader._FILM, FilmSampler), (loader._DAMAGE, Damage)):
        assert [f.name for f in fields(obeys)] == list(known)
    assert {k: tuple(signature(c).parameters) for k, c in CALLBACKS.items()} == loader._ARGUMENTS
    hints = [k for k in signature(simulate_hints).parameters if k not in ('ab', 'generator')]
    assert hints == list(loader._HINTS)
    decided = {k for keys in loader._CHANCES.values() for k in keys.split()}
    chances = {k for k in (*loader._FILM, *loader._DAMAGE) if k.startswith('p_')}
    assert chances - {'p_plain', 'p_luma', 'p_kinds'} == set(loader._CHANCES)
    assert decided <= {*loader._FILM, *loader._DAMAGE}

def test_a_name_in_the_last_phase_is_found_before_the_first(wide, small_archs, tmp_path):
    phases = [Phase('generator', 1, 1e-2), Phase('gan', 1, 1e-2, callbacks=dict(nois={}))]
    recipe, said = Recipe('r', 't', 's', 'd', phases, arch='small_generator', size=24, bs=2), []
    with pytest.raises(ValueError, match="r, phase 2: no callback named 'nois'"):
        run_recipe(recipe, wide/'split', tmp_path/'out', log=said.append)
    assert not said and not (tmp_path/'out').exists()

@pytest.mark.parametrize('resize', ['crop', 'squish', 'stretch'])
def test_random_parts_are_taken_of_every_kind_of_resizing(resize, plain):
    whole, part = (plain(resize=resize, tfms=dict(hflip=0., scale=s)) for s in ((1., 1.), (.3, .5)))
    assert whole != part

def test_which_generators_have_an_encoder_to_freeze():
    "What the loader believes of an architecture, without building it, is so"
    ab_bins()
    for arch, module in OURS.items():
        make = getattr(import_module(module), arch)
        off = {'pretrained': False} if 'pretrained' in signature(make).parameters else {}
        with torch.device('meta'): encoder = getattr(make(**off), 'encoder', None)
        norms = encoder and any(isinstance(m, torch.nn.BatchNorm2d) for m in encoder.modules())
        for key, has in (('freeze', encoder), ('freeze_norm', norms)):
            recipe = Recipe('r', 't', 's', 'd', [Phase('generator', 1, 1e-3)], arch=arch)
            if has: assert getattr(variant(recipe, 'v', 'v', phase={key: True}).phases[0], key)
            else:
                with pytest.raises(ValueError, match=key): variant(recipe, 'v', 'v', phase={key: True})

def test_the_stored_answer_about_noise_came_from_its_plan():
    import measure_noise
    stored = json.loads(measure_noise.OUT.read_text(encoding='utf-8'))
    assert stored['plan'] == measure_noise.PLAN
    assert [(r['seed'], r['noise']) for r in stored['runs']] == [(s, n) for s in (1, 2, 3) for n in measure_noise.NOISE]
    for r in stored['runs']: assert {len(r[k]) for k in ('train', 'own', 'held_out')} == {measure_noise.PLAN['epochs']}
