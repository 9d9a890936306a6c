"Evaluation: `colorize-nb evaluate` as a program, its report's pages, and the demo."
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import skimage.color
import skimage.metrics
from PIL import Image

import warm
from colorize_nb.io.samples import gray_sample, gray_samples, sample, samples

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent/'shared'/'data'
ENV = {'PYTHONPATH': str(ROOT), 'PYTHONUTF8': '1', 'OMP_NUM_THREADS': '1'}

def command(*args): return [sys.executable, '-m', 'colorize_nb', 'evaluate', *map(str, args)]
def run(command): return subprocess.run(command, env=os.environ | ENV, capture_output=True, text=True, encoding='utf-8')
def call(*args): return warm.run('evaluate', *args, env=os.environ | ENV)
def python(code): return run([sys.executable, '-c', code])
def metrics(out): return json.loads((out/'metrics.json').read_text(encoding='utf-8'))

VOID = 'meta', 'img', 'input', 'br', 'hr', 'link', 'col'
SHAPES = 'path', 'circle', 'line', 'rect', 'use', 'polyline'

class Page(HTMLParser):
    "Collects a page's tags and text; a tag that is not closed where it must be is an error"
    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.text, self.links = [], [], [], []
        self.feed(text); self.close()
        assert not self.open, self.open
    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [v for k, v in attrs if k in ('src', 'href', 'poster', 'srcset') and v]
        if tag not in VOID + SHAPES: self.open.append(tag)
    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag: self.open.pop()
        else: assert tag in SHAPES, (tag, self.open)
    def handle_data(self, data): self.text.append(data)

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "The sample at a small size, and what a program without colours would make of it"
    d = tmp_path_factory.mktemp('photos')
    for n in samples():
        im = Image.fromarray(np.array(sample(n).resize((96, 64)))) # without its profile, which scikit-image ignores
        (d/'true').mkdir(exist_ok=True); (d/'gray').mkdir(exist_ok=True)
        im.save(d/'true'/f'{n}.png'); im.convert('L').save(d/'gray'/f'{n}.png')
    return d

def test_sample_with_the_packaged_model(tmp_path):
    small = '--resize', 'crop', '--pixels', 160
    done = run(command('--model', 'default', '--data', 'sample', *small, '--out', tmp_path/'r')) # a true process
    assert done.returncode == 0, done.stderr
    d = metrics(tmp_path/'r')
    assert list(d['methods']) == ['gray', 'gray, luma', 'mean colour', 'default'] and len(d['pictures']) == 8
    assert d['summary']['default']['psnr'][0] > d['summary']['gray, luma']['psnr'][0]
    low, high = d['summary']['default']['psnr'][1:]
    assert low < d['summary']['default']['psnr'][0] < high
    text = (tmp_path/'r'/'report.html').read_text(encoding='utf-8')
    page = Page(text)
    assert {'table', 'img', 'svg'} <= set(page.seen) and all(l.startswith(('data:', '#')) for l in page.links)
    assert not re.search(r'url\((?!["\']?(data:|#))', text) and len(text) < 4e6
    assert f"{d['summary']['default']['psnr'][0]:.2f}" in ' '.join(page.text)

def test_a_folder_of_results_is_measured_as_scikit_image_does(photos, tmp_path):
    done = call('--pred', f"theirs={photos/'gray'}", '--data', photos/'true', '--out', tmp_path/'r')
    assert done.returncode == 0, done.stderr
    d = metrics(tmp_path/'r')
    read = lambda p: np.array(Image.open(p).convert('RGB'))
    pairs = [(read(photos/'true'/n), read(photos/'gray'/n)) for n in d['pictures']]
    want = [skimage.metrics.peak_signal_noise_ratio(t, p, data_range=255) for t, p in pairs]
    got = d['values']['theirs']['psnr']
    assert np.abs(np.subtract(got, want)).max() < 1e-3, (d['pictures'], got, want)
    assert d['values']['theirs']['psnr'] == d['values']['gray, luma']['psnr'] # PIL's gray is luma

@pytest.mark.slow
def test_two_runs_in_one_report(photos, model, tmp_path):
    assert call('--model', f'random={model}', '--data', photos/'true', '--out', tmp_path/'a').returncode == 0
    theirs, old = f"theirs={photos/'gray'}", tmp_path/'a'/'metrics.json'
    done = call('--pred', theirs, '--with', old, '--data', photos/'true', '--out', tmp_path/'b')
    assert done.returncode == 0, done.stderr
    a, b = metrics(tmp_path/'a'), metrics(tmp_path/'b')
    assert list(b['methods'])[-2:] == ['theirs', 'random']
    assert np.allclose(b['summary']['random']['psnr'], a['summary']['random']['psnr'], atol=1e-3) # six digits are kept
    twice = f"random={photos/'gray'}"
    again = call('--pred', twice, '--with', old, '--data', photos/'true', '--out', tmp_path/'c')
    assert again.returncode == 1 and "two methods are named 'random'" in again.stderr

def test_a_missing_result_counts_for_nobody(photos, model, tmp_path):
    for n in samples()[1:]: Image.open(photos/'gray'/f'{n}.png').save(tmp_path/f'{n}.jpg')
    done = call('--pred', tmp_path, '--model', f'random={model}', '--data', photos/'true', '--out', tmp_path/'r')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert f'no result for {samples()[0]}.png' in done.stderr
    assert len(metrics(tmp_path/'r')['values']['random']['psnr']) == 7

def test_gray_pictures_have_no_truth(model, tmp_path):
    for n in gray_samples()[:3]: gray_sample(n).resize((80, 60)).save(tmp_path/f'{n}.png')
    done = call('--model', f'random={model}', '--data', tmp_path, '--out', tmp_path/'r')
    assert done.returncode == 0, done.stderr
    d = metrics(tmp_path/'r')
    assert not d['protocol']['truth']
    assert 'psnr' not in d['summary']['random'] and 'colorfulness' in d['summary']['random']
    Page((tmp_path/'r'/'report.html').read_text(encoding='utf-8'))

def test_a_plate_is_judged_by_its_chroma(tmp_path):
    "An exposure is the question; the truth has removed all of the error, whatever its lightness, and gray nothing"
    im = sample('flower').resize((90, 60))
    for f, x in dict(truth=im, blue=im.getchannel('B'), green=im.getchannel('G')).items():
        (tmp_path/'set'/f).mkdir(parents=True)
        for n in '12': x.save(tmp_path/'set'/f/f'{n}.png')
    (tmp_path/'set'/'blue'/'2.png').unlink()
    truth = tmp_path/'set'/'truth'
    done = call('--data', tmp_path/'set', '--film', 'green', '--pred', f'perfect={truth}', '--out', tmp_path/'out')
    assert done.returncode == 0 and 'perfect removes 1.00' in done.stdout, done.stdout + done.stderr
    d = metrics(tmp_path/'out')
    assert [d['summary'][m]['share_removed'][0] for m in ('gray', 'perfect')] == [0, 1]
    chroma = np.hypot(*np.moveaxis(skimage.color.rgb2lab(im)[..., 1:], 2, 0)).mean()
    assert abs(d['summary']['gray']['chroma_error'][0] - chroma) < .05 and 'psnr' not in d['summary']['perfect']
    Page((tmp_path/'out'/'report.html').read_text(encoding='utf-8'))
    half = call('--data', tmp_path/'set', '--film', 'blue', '--pred', truth, '--out', tmp_path/'half')
    assert half.returncode == 1 and '2.png has no blue exposure' in half.stderr, half.stderr
    assert call('--data', tmp_path/'set', '--film', 'sepia', '--pred', truth, '--out', tmp_path/'no').returncode == 2

def test_the_command_line_knows_all_films():
    from colorize_nb.cli.train import Film
    from colorize_nb.evaluate.methods import FILMS
    assert tuple(f.value for f in Film) == FILMS

@pytest.mark.skipif(sys.platform == 'win32', reason='SIGINT cannot be sent to one process on Windows')
def test_ctrl_c_keeps_what_was_measured(photos, model, tmp_path):
    many, out = tmp_path/'many', tmp_path/'r'
    many.mkdir()
    for i in range(40): Image.open(photos/'true'/'china.png').resize((320, 240)).save(many/f'{i:02}.png')
    args = ['evaluate', '--model', f'random={model}', '--data', str(many), '--out', str(out)]
    script = f'''
import os, signal, sys
from colorize_nb.evaluate import run
from colorize_nb.cli.app import main
evaluate = run.run_evaluation
def interrupted(*args, step=None, **kwargs):
    def one(name):
        step(name)
        if name == '04.png': os.kill(os.getpid(), signal.SIGINT)
    return evaluate(*args, step=one, **kwargs)
run.run_evaluation = interrupted
sys.argv = ['colorize-nb', *{args!r}]
main()'''
    done = warm.run(code=script, env=os.environ | ENV)
    assert done.returncode == 130, done.stderr
    d = metrics(tmp_path/'r')
    assert 5 <= len(d['pictures']) < 40 and d['notes'][0].startswith('Interrupted')
    assert (tmp_path/'r'/'report.html').exists()

def test_the_demo_needs_the_core_alone():
    heavy = 'torch', 'fastai', 'skimage', 'matplotlib', 'pandas', 'scipy'
    code = f'import sys, colorize_nb.evaluate.demo; print([m for m in {heavy!r} if m in sys.modules])'
    done = python(code)
    assert done.stdout.strip() == '[]', done.stdout + done.stderr

def test_pages_and_charts_need_no_torch():
    code = """
import sys
from colorize_nb.evaluate.charts import Row, spread
from colorize_nb.evaluate.pages import Cell, Column, FigureTable, html_page
table = FigureTable('One', [Column('a')], [('<b>', '', [Cell('1')])])
page = html_page('Title', {'Table': [table], 'Chart': [spread([Row('a', [1., 2, 3])], 'Spread')]})
assert '<table' in page and '<svg' in page and '&lt;b&gt;' in page
print([m for m in ('torch', 'fastai', 'pandas') if m in sys.modules])"""
    done = python(code)
    assert done.stdout.strip() == '[]', done.stdout + done.stderr

def test_templates_come_with_the_package():
    from importlib.resources import files
    found = {p.name for p in (files('colorize_nb.evaluate')/'templates').iterdir()}
    assert {'page.html', 'pieces.html', 'page.css', 'table.css', 'chart.css', 'page.js'} <= found

@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='memory is read from /proc')
def test_memory_does_not_grow_over_300_pictures(model, tmp_path):
    script = f'''
import os, numpy as np
from pathlib import Path
from PIL import Image
from colorize_nb.evaluate.evaluation import evaluate
from colorize_nb.evaluate.methods import model_method
from colorize_nb.io.samples import sample
folder = Path({str(tmp_path)!r})/'many'; folder.mkdir()
im = sample('coffee')
for i in range(300): im.crop((i%200, i%150, i%200 + 160, i%150 + 120)).save(folder/f'{{i:03}}.png')
seen = []
def step(name): seen.append(int(Path('/proc/self/statm').read_text().split()[1])*os.sysconf('SC_PAGE_SIZE')/1e6)
ev = evaluate([model_method({str(model)!r})], folder, step=step)
assert len(ev.pictures) == 300, ev.failures[:3]
print(np.median(seen[80:120]), np.median(seen[-40:]))'''
    done = python(script)
    assert done.returncode == 0, done.stderr
    early, late = map(float, done.stdout.split()[-2:])
    # the values of pictures take .2 MB; 180 kept pictures would take 10 MB each way
    assert late - early < 6, f'{early:.0f} MB after 100 pictures, {late:.0f} MB after 300'

@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason='the pictures for training and testing are not here')
@pytest.mark.parametrize('data,truth', [('photos/valid', True), ('paintings', True), ('historical', False)])
def test_real_sets(data, truth, tmp_path):
    done = call('--model', 'default', '--data', SHARED/data, '--limit', 12, '--out', tmp_path/'r')
    assert done.returncode == 0, done.stderr
    d = metrics(tmp_path/'r')
    assert (d['protocol']['n'], d['protocol']['truth']) == (12, truth)
    assert d['summary']['default']['colorfulness'][0] > d['summary']['gray']['colorfulness'][0]
