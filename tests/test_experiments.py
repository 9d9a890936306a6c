"The tools that made the packaged models: what they would run is valid, what they write can be used."
import argparse
import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

EXPERIMENTS = Path(__file__).resolve().parent.parent/'experiments'
sys.path.insert(0, str(EXPERIMENTS))
import add_distribution
import average_models
import choose_default
import distil_film
import equal_colour
import gather_sets
import measure_slider
import package_model
import run_papers
import try_film
import try_lite

from colorize_nb.colorizer.core import Colorizer
from colorize_nb.io.samples import sample, samples
from colorize_nb.models.lite import lite_generator
from colorize_nb.models.lite_hints import lite_hints
from colorize_nb.models.registry import find_model, load_generator, save_generator
from colorize_nb.train.run import build_generator, get_recipe, phase_loss, run_recipe

@pytest.fixture
def sets(tmp_path):
    "Two small sets: photographs of two sources, and paintings"
    for name in ('photos/train/a_1', 'photos/train/b_1', 'photos/train/sub/a_2', 'photos/valid/a_3',
                 'paintings/train/c_1', 'paintings/valid/c_2'):
        f = tmp_path/'data'/f'{name}.png'
        f.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (64, 64), (200, 30, 30)).save(f)
    (tmp_path/'data'/'photos'/'train'/'readme.txt').write_text('no picture')
    return tmp_path/'data'

def linked(out): return sorted(str(f.relative_to(out)) for f in out.rglob('*') if f.is_file())

def test_sets_are_gathered(sets, tmp_path):
    out = tmp_path/'all'
    assert gather_sets.gather(sets, out, ['paintings', 'photos'], 'photos') == dict(train=4, valid=1)
    assert linked(out) == ['train/paintings/c_1.png', 'train/photos/a_1.png', 'train/photos/b_1.png',
                           'train/photos/sub/a_2.png', 'valid/photos/a_3.png']
    assert np.asarray(Image.open(out/'train'/'photos'/'a_1.png')).shape == (64, 64, 3)
    free = tmp_path/'free'
    assert gather_sets.gather(sets, free, ['photos'], 'photos', ['a']) == dict(train=2, valid=1)
    assert linked(free) == ['train/photos/a_1.png', 'train/photos/sub/a_2.png', 'valid/photos/a_3.png']

def test_trials_are_recipes_that_differ():
    names = [t.name for t in try_lite.TRIALS]
    assert len(set(names)) == len(names) and not try_lite.TRIALS[0].phase and not try_lite.TRIALS[0].recipe
    for t in try_lite.TRIALS[1:]:
        assert t.phase or t.recipe or t.keys or t.name.endswith('-43') or (t.limit, t.epochs) != (try_lite.LIMIT,
            1), t.name
    assert all(t.limit*t.epochs == try_lite.LIMIT for t in try_lite.TRIALS) # as many pictures for each

@pytest.mark.parametrize('trial', [t for t in try_film.TRIALS if not t.of], ids=lambda t: t.name)
def test_each_trial_through_film_changes_one_thing(trial):
    "A recipe that can be run, as many pictures for each, and one field or the data or the seed that differs"
    n = 5185 if trial.few else 46751
    rec, base = try_film.recipe_of(trial, n), try_film.recipe_of(try_film.TRIALS[0], 46751)
    phase, = rec.phases
    assert phase.epochs*phase.fraction*n == pytest.approx(try_film.SHOWN)
    assert phase.size is None # or the recipe's would have no effect
    def fields(r): return {k: v for k, v in vars(r).items() if k not in ('name', 'title', 'note', 'phases')}
    changed = {k for k, v in fields(rec).items() if v != fields(base)[k]}
    assert changed == set(trial.recipe)
    assert bool(changed) + bool(trial.phase) + trial.few + (trial.seed != 42) == (trial.name != 'base')

@pytest.mark.parametrize('trial', try_lite.TRIALS, ids=lambda t: t.name)
def test_a_trial_can_be_built(trial):
    rec = try_lite.recipe_of(trial)
    assert len(rec.phases) == 1 and rec.phases[0].epochs == trial.epochs and rec.size == try_lite.SIZE
    gen, _ = build_generator(replace(rec, encoder=None))
    if rec.parameters: assert sum(p.numel() for p in gen.parameters()) == rec.parameters
    with patch('colorize_nb.train.losses.PerceptualLoss', return_value=torch.nn.Identity()):
        phase_loss(rec.phases[0], **dict(prior=torch.full((313,), 1/313)) if rec.phases[0].loss == 'bins' else {})

@pytest.mark.parametrize('name', ['bins', pytest.param('finer', marks=pytest.mark.slow)])
def test_a_trial_runs(name, sets, tmp_path):
    trial = next(t for t in try_lite.TRIALS if t.name == name)
    run_recipe(replace(try_lite.recipe_of(trial), encoder=None, bs=2), sets/'photos', tmp_path/name, limit=2,
               num_workers=0, log=lambda *a: None)
    got = try_lite.row(trial, tmp_path)
    assert got['name'] == name and 0 < got['psnr'] < 60

def test_a_table_of_trials(tmp_path, monkeypatch):
    trial = try_lite.TRIALS[0]
    assert try_lite.row(trial, tmp_path) is None
    for t, psnr in zip(try_lite.TRIALS, (22.5, 22.51)):
        (tmp_path/t.name).mkdir()
        (tmp_path/t.name/'metrics.json').write_text(json.dumps(dict(metrics=dict(psnr=psnr, psnr_gray=21.98765,
            colorfulness_pred=10., colorfulness_true=40., ssim=.9))))
    monkeypatch.setattr(try_lite, 'run_recipe', lambda *a, **kw: pytest.fail('ran again'))
    monkeypatch.setattr(sys, 'argv', ['try_lite.py', '--data', 'x', '--out', str(tmp_path), '--kept',
                                      str(tmp_path/'t.csv'), '--only', *[t.name for t in try_lite.TRIALS[:2]]])
    try_lite.main()
    got = list(csv.DictReader(open(tmp_path/'t.csv')))
    assert [(r['name'], float(r['psnr']), float(r['psnr_gray']), float(r['share']))
            for r in got] == [('base', 22.5, 21.988, .25), ('base-43', 22.51, 21.988, .25)]
    monkeypatch.setattr(sys, 'argv', ['try_lite.py', '--data', 'x', '--out', str(tmp_path), '--only', 'nothing'])
    with pytest.raises(SystemExit, match='no trial named nothing'): try_lite.main()

def test_a_run_becomes_a_packaged_model(tmp_path, monkeypatch):
    "And what it answers is what the run's model answers, but for float16"
    run, small = tmp_path/'run', find_model('small')
    run.mkdir()
    for f in 'model.safetensors', 'model.json': (run/f).write_bytes((small.parent/f).read_bytes())
    (run/'metrics.json').write_text(json.dumps(dict(recipe='lite', start='random', size=96,
                                                    metrics=dict.fromkeys(package_model.MEASURED, 1.23456))))
    monkeypatch.setattr(package_model, 'WEIGHTS', tmp_path/'weights')
    path = package_model.package(run, 'mine', 'photographs: mine', size=160, saturation=.9)
    card = json.loads((tmp_path/'weights'/'mine'/'model.json').read_text())
    assert path == tmp_path/'weights'/'mine'/'model.safetensors'
    assert {k: card[k] for k in ('name', 'description', 'size', 'saturation', 'recipe')} == dict(name='mine',
        description='photographs: mine', size=160, saturation=.9, recipe='lite')
    assert card['metrics_at_96']['psnr'] == 1.2346
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 80), dtype=np.uint8))
    a, b = (np.asarray(Colorizer.load(p)(photo, size=160, saturation=.9)) for p in (path, run/'model.safetensors'))
    np.testing.assert_array_equal(a, b)
    monkeypatch.setattr(package_model, 'LARGEST', 1e6)
    with pytest.raises(SystemExit, match='5.8 MB'): package_model.package(run, 'mine', '')

def test_the_slider_of_a_model(sets, tmp_path, monkeypatch):
    "Gray at zero, whatever the model says; more colour with more saturation"
    out = tmp_path/'slider.json'
    monkeypatch.setattr(sys, 'argv', ['measure_slider.py', '--data', str(sets/'photos'), '--models', 'one=small',
                                      '--sizes', '64', '128', '--kept', str(out)])
    measure_slider.main()
    got = json.loads(out.read_text())
    assert got['n'] == 1 and list(got['models']) == ['one, 64 px', 'one, 128 px']
    for c in got['models'].values():
        assert c['0.0']['colorfulness'] == 0 and c['0.0']['worse'] == 0
        assert np.all(np.diff([v['colorfulness'] for t, v in c.items() if float(t) <= 1]) > 0)

# The mean of models

def saved(net, folder, size=64, **more):
    folder.mkdir()
    return save_generator(net, folder/'model.safetensors', dict(name=folder.name, size=size, saturation=1.) | more)

def test_a_mean_of_models_is_that_of_their_weights(tmp_path):
    "By hand: numbers that half precision keeps; hints and a distribution only of who has them"
    torch.manual_seed(0)
    light = lite_generator(nf=[16]*4)
    wide = lite_hints(nf=[16]*4)
    for net in light, wide:
        for v in net.state_dict().values():
            if v.is_floating_point(): v.copy_(torch.randint(-8, 8, v.shape)/4) # sums and halves of these are exact
    a, b = saved(light, tmp_path/'light'), saved(wide, tmp_path/'wide', contrast=80)
    average_models.main([f'{a}=3', f'{b}=1', '--out', str(tmp_path/'mean')])
    got, meta = load_generator(tmp_path/'mean'/'model.safetensors')
    own, old, new = got.state_dict(), light.state_dict(), wide.state_dict()
    assert (meta['name'], meta['contrast']) == ('mean of 0.75 light + 0.25 wide', 80)
    assert torch.equal(own['bins.weight'], new['bins.weight']) and torch.equal(own['bins.bias'], new['bins.bias'])
    assert torch.equal(own['head.weight'], (3*old['head.weight'] + new['head.weight'])/4)
    stem = next(k for k, v in new.items() if v.ndim == 4 and v.shape[1] == 4)
    assert torch.equal(own[stem][:, :1], (3*old[stem] + new[stem][:, :1])/4)
    assert torch.equal(own[stem][:, 1:], new[stem][:, 1:]) # who takes no hints has nothing to say of them

def test_the_rule_for_another_default(tmp_path, capsys):
    "By hand: ahead through both films, not behind plainly, at most four of 68; the first less the other is kept"
    def way(**ahead): return {'first': dict(ahead=[0, 0, 0])} | {k: dict(ahead=v) for k, v in ahead.items()}
    sure, unsure, behind = [-.03, -.05, -.01], [-.03, -.07, .01], [.02, .01, .03]
    ways = dict(zip((*choose_default.PHOTOS, choose_default.MEAN), (
        way(good=unsure, better=unsure, dull=sure, slow=behind, sepia=sure),
        way(good=sure, better=sure, dull=sure, slow=sure, sepia=sure),
        way(good=sure, better=sure, dull=unsure, slow=sure, sepia=sure),
        way(good=[-.02, -.03, -.01], better=[-.03, -.05, -.01], dull=sure, slow=sure, sepia=[-.09, -.1, -.08]))))
    faults = dict(first=1, good=0, better=4, dull=0, slow=0, sepia=5)
    (tmp_path/'e.json').write_text(json.dumps(dict(ways=ways)))
    models = {k: dict(n=68, tint=v, patches=0) for k, v in faults.items()}
    (tmp_path/'f.json').write_text(json.dumps(dict(models=models)))
    choose_default.main([str(tmp_path/'e.json'), str(tmp_path/'f.json'), '--kept', str(tmp_path/'kept.json')])
    kept = json.loads((tmp_path/'kept.json').read_text())
    assert kept['taken'] == 'better' and 'taken: better' in capsys.readouterr().out
    assert {k for k, o in kept['models'].items() if o['why']} == {'dull', 'slow', 'sepia'}
    assert kept['models']['better']['ahead'][choose_default.MEAN] == [.03, .01, .05]

def test_the_default_is_the_mean_that_its_card_names():
    "To the last bit: half of one, a quarter of each of two others"
    names = 'accurate', 'old-photographs', 'two-teachers'
    parts = [EXPERIMENTS/'old_photographs'/n/'model.safetensors' for n in names]
    if not all(p.exists() for p in parts): pytest.skip('a distribution without the parts')
    a, b, c = (load_generator(p)[0].state_dict() for p in parts)
    got = load_generator(find_model('default').with_name('model.safetensors'))[0].state_dict()
    floats = {k for k, v in got.items() if v.is_floating_point()}
    assert len(floats) > 200 and all(torch.equal(got[k], ((2*a[k] + b[k] + c[k])/4).half().float()) for k in floats)

@pytest.mark.parametrize('words', ['default', 'default=', 'default=-1', 'default=x', '=1'])
def test_a_share_that_is_none_is_refused(words, tmp_path):
    with pytest.raises(SystemExit, match='expected MODEL=SHARE'):
        average_models.main([words, '--out', str(tmp_path/'mean')])
    assert not (tmp_path/'mean').exists()

def test_models_of_different_networks_have_no_mean(tmp_path):
    a, b = saved(lite_generator(nf=[16]*4), tmp_path/'a'), saved(lite_generator(nf=[8]*4), tmp_path/'b')
    with pytest.raises(SystemExit, match='weights of different shapes'):
        average_models.main([f'{a}=1', f'{b}=1', '--out', str(tmp_path/'mean')])

def test_tone_of_skin():
    "By hand: arctan((70 - 50)/20) is 45 degrees; the groups' bounds are 41, 28 and 10 degrees"
    import measure_faces as mf
    assert mf.typology_angle(70, 20) == pytest.approx(45)
    assert [mf.tone(l, 20) for l in (70, 63, 55, 50)] == ['light', 'intermediate', 'tan', 'brown and dark']
    # in the middle, L* 60, chroma 25 at a hue of 53 degrees; around it the blue of a wall, and a dark shirt below
    image = np.zeros((3, 100, 100))
    image[:, :90] = np.array([70, -5, -20])[:, None, None]
    image[:, 20:80, 20:80] = np.array([60, 15, 20])[:, None, None]
    mask = mf.skin(image)
    assert mask.sum() == (75 - 30)*(70 - 30) and mask[30:75, 30:70].all()

def test_patches_and_tints():
    "By hand: one chroma everywhere is one tint, two opposite ones cancel; a share of 95 in 100 stays below the limit"
    import count_faults as cf
    plain = np.full((64, 64, 3), (140, 110, 90), np.uint8)
    halves = plain.copy()
    halves[:, 32:] = 90, 110, 140
    assert cf.measured(plain)['tint'] == pytest.approx(1, abs=1e-4) and cf.measured(halves)['tint'] < .4
    rows = [dict(patches=float(i), tint=i/100) for i in range(101)] + [dict(patches=np.nan, tint=.5)]
    assert cf.limits(rows)['patches'] == 95

def test_the_knob_leaves_old_photographs_in_more_than_one_tint():
    "By hand: one in eight of 16 is 2; where every mixture has more, the one with the fewest is left"
    import measure_vividness as mv
    old = {m: dict(n=16, tint=t) for m, t in (((0, 1), 1), ((1, .6), 2), ((1, .4), 3))}
    assert mv.allowed(old) == [(0, 1), (1, .6)]
    assert mv.allowed({m: o | dict(tint=o['tint'] + 4) for m, o in old.items()}) == [(0, 1)]
    # a straight line each: where .5 and .9 of the truth's colourfulness are, the last mixture removes most
    def line(k): return [dict(times=t, psnr=20 + t, gain=t, colour=t/2, removed=k*t) for t in (1., 2.)]
    curves = {f: {m: line(k) for m, k in zip(old, (.1, .2, .3))} for f in mv.FILMS}
    assert mv.best(curves, .9, list(old)) == (1, .4)
    assert mv.best(curves, .9, mv.allowed(old)) == (1, .6)
    # PSNR is best at 1 and falls by .45 for each unit after it: .05 dB are lost at 1.11
    bent = [dict(times=t, psnr=20 + g, gain=g, colour=t/2, removed=0) for t, g in ((1., 1.), (3., .1))]
    assert mv.calm_end({None: {(0, 1): bent}}, [(0, 1)]) == [0, 1, 1.11]

def test_a_distribution_is_added_beside_the_colours(tmp_path, monkeypatch):
    "The colours stay as they were, the head learns"
    for n in samples()[:4]:
        im = sample(n).convert('RGB')
        im.thumbnail((160, 160))
        im.save(tmp_path/f'{n}.png')
    monkeypatch.setattr(sys, 'argv', ['add_distribution.py', 'paintings', '--data', str(tmp_path), '--size', '64',
                                      '--bs', '2', '--steps', '6', '--out', str(tmp_path/'out')])
    add_distribution.main()
    before, after = (load_generator(o)[0].eval() for o in (find_model('paintings'), tmp_path/'out'/'model.safetensors'))
    start = load_generator(find_model('default'))[0]
    l = torch.linspace(-1, 1, 64*64).view(1, 1, 64, 64)
    with torch.no_grad(): assert (before.predict_ab(l) - after.predict_ab(l)).abs().max() < 1e-5
    assert .001 < (after.bins.weight - start.bins.weight).abs().max() < .1 # six steps of at most 1e-3 and float16
    assert len((tmp_path/'out'/'log.csv').read_text().splitlines()) == 1

# The questions of the five papers

def test_the_papers_trainings_are_recipes_with_seeds_in_common():
    "All settings of a question have the same pictures, seeds and measures, or they could not be compared"
    rows = run_papers.plans()
    names = [p.name(s) for p, s in rows]
    assert len(set(names)) == len(names)
    for p in {p.name(0): p for p, _ in rows}.values():
        rec = run_papers.recipe_of(p)
        sets = {'photos', 'paintings', 'flowers', 'faces', 'historical', 'imagenette', 'genre', 'painter'}
        assert rec.with_epochs(p.epochs).phases and set(p.on) <= sets
        if p.start: assert (replace(p, setting=p.start).name(1)) in names[:names.index(p.name(1))]
    for q in ('heads', 'art', 'cgan', 'artist', 'remedies'):
        mine = [p for p, s in rows if p.question == q and s == 1]
        assert len({(p.data, p.size, p.on, p.seeds) for p in mine}) == 1, q

def test_a_training_of_a_question_is_stored_picture_by_picture(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for part, n in ('train', 4), ('valid', 3):
        for i in range(n):
            f = tmp_path/'data'/'photos'/part/f'x_{i}.png'
            f.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (70, 64, 3), dtype=np.uint8)).save(f)
    monkeypatch.setattr(run_papers, 'KEPT', tmp_path/'kept')
    monkeypatch.setattr(run_papers, 'WEIGHTS', str(tmp_path)) # no file there: random weights
    plan = run_papers.Plan('made', 'bins', 'lite-classification', 'photos', 1, ('photos',), size=32, bs=2)
    args = argparse.Namespace(data=tmp_path/'data', out=tmp_path/'out', cache=tmp_path/'cache')
    run_papers.one(plan, 3, args)
    row, = json.loads((tmp_path/'kept'/'made.json').read_text())
    assert (row['pictures'], row['shown'], row['seed'], row['steps'], row['start']) == (4, 4, 3, 2, 'random weights')
    sets = json.loads((tmp_path/'kept'/'sets.json').read_text())['photos']
    for found in row['on']['photos'], row['plain mean']['photos'], sets['gray'], sets['mean colour']:
        assert [len(found[k]) for k in ('psnr', 'colorfulness', 'chroma_error')] == [3]*3
    truth = run_papers.questions(tmp_path/'data', 'photos')[0].numpy().astype(float)
    lab = rgb2lab(truth.transpose(0, 2, 3, 1)/255) # scikit-image's
    assert np.allclose(np.hypot(lab[..., 1], lab[..., 2]).mean((1, 2)), sets['gray']['chroma_error'], atol=.5)
    assert sets['gray']['colorfulness'] == [0]*3 and run_papers.is_done(plan, 3) and not run_papers.is_done(plan, 4)

@pytest.mark.parametrize('name', ['flowers-gan', 'flowers-gan-dense', 'flowers-gan-highway'])
def test_the_three_skips_answer(name):
    "Any size; lightness kept to the bit; what a gate near 0 leaves is what went around"
    gen, _ = build_generator(replace(get_recipe(name), config=dict(nf=4) | {k: v for k, v in get_recipe(
        name).config.items() if k == 'skip'}, parameters=None))
    l = torch.rand(2, 1, 33, 47)*2 - 1
    lab = gen.eval()(l)
    assert lab.shape == (2, 3, 33, 47) and torch.equal(lab[:, :1], l)
    if gen.skip != 'gate': return
    x, skip = torch.rand(2, 1, 4, 5, 5)
    with torch.no_grad(): gen.gates[0].bias.fill_(-100.)
    assert torch.allclose(gen.join(x, skip, 0), skip)

def test_models_at_one_colourfulness(tmp_path):
    "By hand: a model of twice the chroma is multiplied by half as much, and then has the same errors"
    for n in samples()[:3]:
        im = sample(n).convert('RGB')
        im.thumbnail((160, 160))
        im.save(tmp_path/f'{n}.png')
    one, twice = (Colorizer.from_pretrained('small') for _ in range(2))
    answer = twice.engine.answer
    twice.engine.answer = lambda l: (2*answer(l)[0], None)
    found = {f.name: f for f in sorted(tmp_path.iterdir())}
    raw = equal_colour.measured(dict(one=one, twice=twice), found, None, .5)
    got = equal_colour.compared(raw)
    assert abs(raw['one'][0] - 2*raw['twice'][0]) < .03
    assert equal_colour.compared(raw, raw) == got # the mean of a way with itself
    e = dict(one=(1, np.array([1., 3]), np.full(2, 4.)), two=(1, np.array([2., 4]), np.full(2, 4.)))
    both = equal_colour.compared(e, {k: (1, v[1], v[2]*2) for k, v in e.items()}) # by hand: means of 1/2, 3/4; 1/4, 1/8
    assert (both['one']['removed'][0], both['two']['ahead']) == (.625, [.1875]*3)
    assert got['one']['ahead'] == [0, 0, 0] and abs(got['twice']['ahead'][0]) < .003
    assert got['one']['removed'][1] <= got['one']['removed'][0] <= got['one']['removed'][2]
    assert abs(equal_colour.factor(lambda t: t/4, .5) - 2) < .02
    with pytest.raises(SystemExit, match='no factor'): equal_colour.factor(lambda t: .1, .5)

@pytest.mark.slow
def test_a_model_teaches_itself(tmp_path, monkeypatch):
    "The teacher keeps its colours and gets a distribution, the student gets others; it goes on where it was stopped"
    for i, n in enumerate(samples()):
        im = sample(n).convert('RGB')
        im.thumbnail((200, 200))
        im.save(tmp_path/f'photo{i}.png')
    out = tmp_path/'out'
    def run(steps, *more):
        monkeypatch.setattr(sys, 'argv', ['distil_film.py', '--data', str(tmp_path), '--out', str(out), '--bs', '2',
                                          '--size', '64', '--steps', str(steps), *more])
        distil_film.main()
    run(2)
    run(3, '--mirror', '--together', '--also', 'small', '--counsel', '0', '--gentle', '--contrast', '80')
    assert [int(r[0]) for r in csv.reader((out/'log.csv').open())] == [2, 3]
    before = load_generator(find_model('default'))[0].eval()
    nets = {k: load_generator(out/k/'model.safetensors')[0].eval() for k in ('teacher', 'student')}
    l = torch.linspace(-1, 1, 64*64).view(1, 1, 64, 64)
    with torch.no_grad():
        ab, logits = before.predict(l)
        (same, moved), (other, _) = nets['teacher'].predict(l), nets['student'].predict(l)
    assert (same - ab).abs().max() < 2e-3 and (moved - logits).abs().max() > 1e-3 # stored as float16
    assert (other - ab).abs().max() > 1e-3
