"A person's hints, from a click to the file: whole folders, results that can be repeated, and the simulated user."
import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import color as skcolor

from colorize_nb.color.grid import grid_colors, mean_color
from colorize_nb.colorizer.batch import colorize_files
from colorize_nb.colorizer.core import Colorizer
from colorize_nb.colorizer.hints import Hint, Hints, applied_hints

AT = {tuple(o): i for i, o in enumerate(grid_colors().astype(int).tolist())}
COAT = 31, 64, 122
COAT_AB = skcolor.rgb2lab(np.array(COAT)/255)[1:]

class Half:
    "A hint colours its whole half of the picture; without one, red is three times as likely as blue."
    takes_hints, name, meta, device = True, 'half', {'name': 'half'}, 'cpu'
    def answer(self, l, hints=None):
        n, h, w = l.shape
        logits = np.full((n, 313, h, w), -30, np.float32)
        logits[:, AT[60, 40]], logits[:, AT[20, -60]] = np.log(3), 0
        ab = mean_color(logits)
        for i in range(n if hints is not None else 0):
            for part in slice(0, w//2), slice(w//2, w):
                given = hints[i, 2, :, part] > 0
                if given.any(): ab[i, :, :, part] = 110*hints[i, :2, :, part][:, given].mean(1)[:, None, None]
        return ab, logits
    def predict(self, l, hints=None): return self.answer(l, hints)[0]

class Deaf(Half):
    takes_hints, name, meta = False, 'deaf', {'name': 'deaf'}

@pytest.fixture
def colorizer(): return Colorizer(Half(), dict(name='half', size=32))

@pytest.fixture
def box(tmp_path):
    "A folder with two photographs whose right half is darker, one of which has hints: blue on its left half"
    old = tmp_path/'old'
    old.mkdir()
    im = Image.new('L', (64, 64), 119)
    im.paste(60, (32, 0, 64, 64))
    for name in ('a.png', 'b.png'): im.save(old/name)
    Hints((64, 64), [Hint(8, 30, COAT)]).write(old/'a.hints.json')
    return old

def ab_of(path, x, y): return skcolor.rgb2lab(np.asarray(Image.open(path).convert('RGB'))/255)[y, x, 1:]

def test_a_folder_uses_each_photographs_hints(box, tmp_path, colorizer):
    results = list(colorize_files(box, tmp_path/'new', colorizer))
    assert [(Path(r.source).name, r.status) for r in results] == [('a.png', 'done'), ('b.png', 'done')]
    assert '1 hint from a.hints.json' in results[0].message and 'hint' not in results[1].message
    assert np.allclose(ab_of(tmp_path/'new'/'a.png', 8, 30), COAT_AB, atol=2)
    free = .75*np.array([60, 40]) + .25*np.array([20, -60])
    assert np.allclose(ab_of(tmp_path/'new'/'b.png', 4, 30), free, atol=2)
    def far(x): return np.hypot(*(ab_of(tmp_path/'new'/'a.png', x, 30) - COAT_AB))
    assert far(4) < 8 < 30 < far(60) # the other half is little changed

def test_a_result_says_which_hints_made_it(box, tmp_path, colorizer):
    list(colorize_files(box, tmp_path/'new', colorizer))
    assert applied_hints(tmp_path/'new'/'a.png') == Hints.read(box/'a.hints.json')
    assert applied_hints(tmp_path/'new'/'b.png') is None

def test_changed_hints_make_a_result_due_again(box, tmp_path, colorizer):
    def statuses(): return [r.status for r in colorize_files(box, tmp_path/'new', colorizer)]
    assert statuses() == ['done', 'done']
    assert statuses() == ['skipped', 'skipped']
    Hints((64, 64), [Hint(8, 30, (119, 119, 119))]).write(box/'a.hints.json')
    later = (tmp_path/'new'/'a.png').stat().st_mtime + 5
    os.utime(box/'a.hints.json', (later, later))
    assert statuses() == ['done', 'skipped']
    assert np.allclose(ab_of(tmp_path/'new'/'a.png', 4, 30), 0, atol=1) # kept gray

def test_removed_hints_make_a_result_due_again(box, tmp_path, colorizer):
    "In a folder; what was given by `--hints` is not undone by a later run over the folder"
    def statuses(**kw): return [r.status for r in colorize_files(box, tmp_path/'new', colorizer, **kw)]
    assert statuses() == ['done', 'done']
    (box/'a.hints.json').rename(tmp_path/'mine.json')
    assert statuses() == ['done', 'skipped'] and statuses() == ['skipped', 'skipped']
    assert np.array_equal(ab_of(tmp_path/'new'/'a.png', 4, 30), ab_of(tmp_path/'new'/'b.png', 4, 30))
    one = dict(hints=tmp_path/'mine.json', overwrite=True)
    assert [r.status for r in colorize_files(box/'a.png', tmp_path/'new', colorizer, **one)] == ['done']
    assert statuses() == ['skipped', 'skipped']
    assert np.allclose(ab_of(tmp_path/'new'/'a.png', 4, 30), COAT_AB, atol=2)

class Weak(Half):
    "Makes half of what a hint says, on its pixel alone"
    def answer(self, l, hints=None):
        ab, logits = super().answer(l)
        ab = ab/2 # as lively as photographs are
        if hints is not None: ab = np.where(hints[:, 2:] > 0, (ab + 110*hints[:, :2])/2, ab)
        return ab, logits

@pytest.mark.parametrize('saturation', [None, .4, 1, 1.7])
@pytest.mark.parametrize('format', ['png', 'tif', 'jpg'])
def test_a_hints_colour_holds(tmp_path, saturation, format):
    "Within 5 ab units at its point, whatever the network makes of it; far away less changes"
    old = tmp_path/'old'
    old.mkdir()
    Image.linear_gradient('L').resize((200, 150)).point(lambda v: 60 + v/2).save(old/f'a.{format}')
    points = [(60, 40, COAT), (140, 40, (150, 60, 60)), (60, 110, (120, 120, 120)), (100, 110, (60, 120, 60))]
    hints = Hints((200, 150), [Hint(x, y, rgb, 3) for x, y, rgb in points])
    results = {}
    for name in 'free', 'new':
        if name == 'new': hints.write(old/'a.hints.json')
        c = Colorizer(Weak(), dict(name='weak', size=64))
        r, = colorize_files(old, tmp_path/name, c, saturation=saturation)
        assert r.status == 'done', r.message
        results[name] = skcolor.rgb2lab(np.asarray(Image.open(r.target).convert('RGB'))/255)
    for x, y, rgb in points:
        wanted = skcolor.rgb2lab(np.array(rgb)/255)[1:] # all of them within sRGB at the lightness there
        most = 10 if format == 'jpg' else 5 # JPEG stores chroma at half the size and rounds it
        assert np.hypot(*(results['new'][y, x, 1:] - wanted)) < most, (rgb, results['new'][y, x])
    changed = np.hypot(*np.moveaxis(results['new'] - results['free'], -1, 0)[1:])
    assert changed[75, 190] < .6*max(changed[y, x] for x, y, _ in points)

def test_broken_hints_stop_their_photograph_alone(box, tmp_path, colorizer):
    Hints((63, 64)).write(box/'a.hints.json')
    results = list(colorize_files(box, tmp_path/'new', colorizer))
    assert [r.status for r in results] == ['failed', 'done']
    assert '63x64' in results[0].message and '64x64' in results[0].message
    (box/'a.hints.json').write_text('{')
    assert 'a.hints.json cannot be used as hints' in next(iter(colorize_files(box, tmp_path/'n2', colorizer))).message

def test_answers_and_uncertainty_are_written(box, tmp_path, colorizer):
    list(colorize_files(box/'b.png', tmp_path/'new', colorizer, answers=2, uncertainty=True))
    assert sorted(os.listdir(tmp_path/'new')) == ['b-1.png', 'b-2.png', 'b.png', 'b_uncertainty.png']
    one, two = (ab_of(tmp_path/'new'/f'b-{i}.png', 30, 30) for i in (1, 2))
    assert np.abs(one - two).max() > 10
    doubt = -(.75*np.log(.75) + .25*np.log(.25))/np.log(313)
    assert abs(np.asarray(Image.open(tmp_path/'new'/'b_uncertainty.png')).mean() - 255*doubt) < 1
    assert b'answer 2 of 2' in (tmp_path/'new'/'b-2.png').read_bytes()

def test_a_palette_lends_its_colours(box, tmp_path, colorizer):
    blue = (np.clip(skcolor.lab2rgb(np.full((64, 64, 3), [40., 20., -60.])), 0, 1)*255).astype(np.uint8)
    blue[:, :32] = 128
    blue[:8] = (200, 30, 30)
    Image.fromarray(blue).save(tmp_path/'film.png')
    results = list(colorize_files(box/'b.png', tmp_path/'new', colorizer, palette=str(tmp_path/'film.png')))
    assert results[0].status == 'done', results[0].message
    plain = .75*40 - .25*60
    assert ab_of(tmp_path/'new'/'b.png', 30, 30)[1] < plain - 5
    assert b'palette film.png' in (tmp_path/'new'/'b.png').read_bytes()
    with pytest.raises(ValueError, match='no colours to lend'):
        colorize_files(box/'b.png', tmp_path/'n2', colorizer, palette=str(box/'a.png'))

def test_a_model_that_is_shown_no_hints_is_corrected(box, tmp_path):
    deaf = Colorizer(Deaf(), dict(name='deaf', size=32))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        results = list(colorize_files(box, tmp_path/'new', deaf))
    assert [r.status for r in results] == ['done', 'done']
    hints = applied_hints(tmp_path/'new'/'a.png')
    h = hints.hints[0]
    assert np.allclose(ab_of(tmp_path/'new'/'a.png', h.x, h.y), skcolor.rgb2lab(np.array(h.rgb)/255)[1:], atol=3)

def test_calls_take_hints(box, colorizer):
    photo, hints = box/'b.png', Hints((64, 64), [Hint(60, 1, COAT)])
    def right(im): return skcolor.rgb2lab(np.asarray(im)/255)[1, 60, 1:]
    for im in (colorizer(photo, hints=hints), *colorizer.batch([photo, photo], hints=[hints, hints])):
        assert np.allclose(right(im), COAT_AB, atol=2)
    free, hinted = colorizer.batch([photo, photo], batch_size=1, hints=[None, hints])
    assert right(free)[1] > 10 and np.allclose(right(hinted), COAT_AB, atol=2)
    file = box/'a.hints.json'
    assert np.allclose(colorizer(photo, hints=file), colorizer(photo, hints=Hints.read(file)))
    assert [len(colorizer.answers(photo, 3)), len(colorizer.suggest(photo, 5, 5, n=1))] == [3, 1]

def test_the_simulated_user(tmp_path, colorizer):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent/'experiments'))
    import simulate_user as user
    truth = np.full((32, 32, 3), COAT, np.uint8) # one colour all over: one hint a half makes it right
    rows = [user.measure_picture(colorizer, truth, [0, 1, 50], seed) for seed in range(2)]
    for r in rows:
        assert r[50]['ab'] < 1 and r[0]['ab'] > 20 and r[50]['psnr'] > 38
        assert r[50]['point'] < 1 and r[50]['bleeding'] is None # there is no other colour
        assert abs(r[50]['spread'] - (r[0]['ab'] - r[50]['ab'])) < 2
    found = user.summarize(rows)
    assert found['50']['better'] == 1 and found['0']['better'] == 0 and json.dumps(found)
    before, after = np.full((16, 16), 30.), np.full((16, 16), 30.)
    after[:, :8], after[:, 8:] = 10, 35 # the left half got better by 20, the right one worse by 5
    two = np.zeros((16, 16, 2))
    two[:, 8:] = 60
    spread = user.spread_and_bleeding(before, after, two, [Hint(7, 8, (128, 128, 128))])
    assert spread == (20, 5)

def test_the_reach_of_hints_is_fitted(colorizer, tmp_path):
    "By hand: ways around a wall, a kernel of one length; a correction that is known, and one that is learned"
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent/'experiments'))
    import torch
    import fit_spread
    wall = np.zeros((1, 9, 9), np.float32)
    wall[0, :8, 4] = 100 # open in the last row
    way = fit_spread.shortest_paths(wall, [(0, 0), (8, 4)], 1.)
    assert np.allclose(way[0, 0, :4], range(4)) and np.isclose(way[0, 3, 3], 3*2**.5) and np.isclose(way[1, 8, 8], 4)
    assert np.isclose(way[0, 8, 4], 4*2**.5 + 4) # four steps aslant, four down
    assert np.isclose(way[0, 0, 8], 2*way[0, 8, 4]) # through the gap and up again
    net = fit_spread.Spread(['a'])
    with torch.no_grad(): net.log_lengths[:] = np.log(10.)
    at = fit_spread.Spread.columns.index('a')
    x = torch.zeros(1, 3, 16)
    x[0, :, at] = torch.tensor([0., 20, 5])
    b = dict(points=x, pixels=x, paths_points=torch.zeros(1, 3, 3), paths_pixels=torch.zeros(1, 3, 3),
             lacks=torch.tensor([[[8., -4], [8, -4], [0, 0]]]), error=torch.tensor([[[8., -4], [8, -4], [0, 0]]]))
    one = net(b, torch.tensor([[0]]))[0].detach().numpy()
    assert np.allclose(one, np.exp([[0], [-2], [-.5]])/1.001*[8, -4], atol=.02)
    assert net.worst(b, 3).tolist()[0][:2] in ([0, 1], [1, 0]) # the third lacks nothing, until it is coloured too
    before = fit_spread.judge(net, b | dict(lacks=b['lacks'][:, [0]*50], points=x[:, [0]*50],
        paths_points=torch.zeros(1, 50, 50), paths_pixels=torch.zeros(1, 3, 50)))
    assert before['random'][1] > 0
