"""Published colorizers by name: weights served by a server on this machine, in the forms in which they are published.

The everyday tests serve a stand-in, a network that answers one colour to everything, so that the right picture is
known without our code. Others serve the true networks with weights drawn from the tensors' names, for which the
answers of the original programs are known."""
import hashlib
import http.server
import json
import os
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from safetensors.torch import load_file
from skimage.color import lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio
from test_published import check_outputs, eccv16_by_hand, fill, filled, filled_weights, thin_network
from torch import nn
from typer.testing import CliRunner

from colorize_nb.cli.app import app, load_commands
from colorize_nb.io import download
from colorize_nb.models import catalog, published, registry
from colorize_nb.models.deoldify import without_values
from colorize_nb.models.published import published_generator

load_commands()
A, B = 20., -30. # the stand-in's answer, Lab units
NAMES = [*catalog.PUBLISHED]

class StandIn(nn.Module):
    "One colour to everything"
    size, takes_hints = 64, False
    def __init__(self, network=''):
        super().__init__()
        self.ab = nn.Parameter(torch.tensor([A, B]).view(1, 2, 1, 1))
    def forward(self, l): return torch.cat([l, (self.ab/110).expand(len(l), -1, *l.shape[-2:])], 1)

def generator(network, weights=None):
    net = StandIn()
    net.load_state_dict(weights)
    return net

def content(name, state):
    "What the published file of `name` holds around a state dict"
    form = catalog.PUBLISHED[name].form
    if form == 'params': return dict(params=state | {'encoder.arch.head_cls.weight': torch.zeros(2, 2)})
    if form == 'model': return dict(model=state, opt=dict(lr=slice(1e-5, 1e-3), state=[dict(mom=torch.zeros(2))]))
    return state

class Weights:
    "A server of files: how it answers, and what it was asked"
    def __init__(self, folder):
        self.folder, self.asked, self.status, self.most = folder, [], {}, {}
        outer = self
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args): pass
            def do_GET(self):
                name, span = self.path.strip('/'), self.headers['Range']
                outer.asked.append((name, span))
                file = outer.folder/name
                status = outer.status.get(name, 200 if file.exists() else 404)
                if status != 200: return self.send_error(status)
                data, start = file.read_bytes(), int(span[6:-1]) if span else 0
                self.send_response(206 if span else 200)
                if span: self.send_header('Content-Range', f'bytes {start}-{len(data) - 1}/{len(data)}')
                self.send_header('Content-Length', str(len(data) - start))
                self.end_headers()
                self.wfile.write(data[start:][:outer.most.get(name)])
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs=dict(poll_interval=.02), daemon=True).start()

    def url(self, name): return f'http://127.0.0.1:{self.server.server_port}/{name}'

    def close(self):
        self.server.shutdown()
        self.server.server_close()

@pytest.fixture
def served(tmp_path, monkeypatch):
    "A server whose folder is empty, and a cache of its own"
    (tmp_path/'served').mkdir()
    server = Weights(tmp_path/'served')
    monkeypatch.setenv('COLORIZE_NB_CACHE', str(tmp_path/'cache'))
    monkeypatch.setenv('no_proxy', '*')
    monkeypatch.setattr(download, '_is_public', lambda address: True) # this machine plays the public net
    yield server
    server.close()

@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(registry, 'published_network', StandIn)
    real = registry.get_arch
    monkeypatch.setattr(registry, 'get_arch', lambda name: generator if name == 'published_generator' else real(name))

@pytest.fixture
def photos(tmp_path):
    "A folder with two gray ramps, none of them square"
    ramp = np.tile(np.linspace(90, 160, 60).astype(np.uint8), (40, 1))
    (tmp_path/'old'/'attic').mkdir(parents=True)
    Image.fromarray(ramp).save(tmp_path/'old'/'a.png')
    Image.fromarray(ramp.T.copy()).save(tmp_path/'old'/'attic'/'b.png')
    return tmp_path/'old'

def offer(monkeypatch, server, name, *files, state=None, sha256=None):
    "Write the published form of `name` under the last of `files`, and let the catalog name all of them"
    path = server.folder/files[-1]
    torch.save(content(name, state or StandIn().state_dict()), path)
    sha256 = sha256 or hashlib.sha256(path.read_bytes()).hexdigest()
    sources = tuple(catalog.Source(server.url(f), sha256) for f in files)
    fields = vars(catalog.PUBLISHED[name]) | dict(sources=sources)
    monkeypatch.setitem(catalog.PUBLISHED, name, catalog.Published(**fields))
    return path

def call(*args): return CliRunner().invoke(app, [str(a) for a in args], prog_name='colorize-nb')

def check_colours(folder, ab=(A, B)):
    "Are both pictures there, at their sizes, in the colour that is known, by scikit-image's Lab?"
    for name, size in {'a.png': (60, 40), 'attic/b.png': (40, 60)}.items():
        im = Image.open(folder/name)
        assert im.size == size
        lab = rgb2lab(np.asarray(im.convert('RGB')))
        assert np.abs(lab[..., 1:].mean((0, 1)) - ab).max() < 1 and lab[..., 1:].std((0, 1)).max() < 1.5

@pytest.mark.parametrize('name', NAMES)
def test_one_command_colours_a_folder(name, served, stand_in, photos, tmp_path, monkeypatch):
    offer(monkeypatch, served, name, 'weights.pth')
    done = call('colorize', photos, '--out', tmp_path/'new', '--model', name)
    assert done.exit_code == 0, done.output
    p = catalog.PUBLISHED[name]
    for part in (name, f'{p.megabytes} MB', '127.0.0.1', p.weights_licence): assert part in done.stderr
    check_colours(tmp_path/'new')
    served.close()
    done = call('colorize', photos, '--out', tmp_path/'again', '--model', name) # no server any more
    assert (done.exit_code, done.stderr, len(served.asked)) == (0, '', 1), done.output
    served.server = Weights(served.folder).server # for the fixture to close

BROKEN = [ # files in the catalog, statuses, what is served instead, words of the sentence
    ('answers 403', ['w.pth'], {'w.pth': 403}, None),
    ('answers 404', ['gone.pth', 'w.pth'], {'w.pth': 403}, None),
    ('answers 503', ['w.pth'], {'w.pth': 503}, None),
    ('sends another file', ['w.pth'], {}, b'<html>Please log in</html>'),
    ('sends another file', ['w.pth'], {}, bytes(5000))]

@pytest.mark.parametrize('why, files, status, instead', BROKEN)
def test_a_bad_download_is_one_sentence(why, files, status, instead, served, stand_in, photos, tmp_path, monkeypatch):
    path = offer(monkeypatch, served, 'ddcolor-tiny', *files)
    served.status = status
    if instead is not None: path.write_bytes(instead)
    done = call('colorize', photos, '--out', tmp_path/'new', '--model', 'ddcolor-tiny')
    lines = done.stderr.splitlines()
    assert done.exit_code == 1 and len(lines) == 2 and not (tmp_path/'new').exists(), done.output
    assert lines[0].startswith('colorize-nb: fetching ddcolor-tiny') and why in lines[1]
    for file in files: assert served.url(file) in lines[1]
    assert '--model ddcolor-tiny --weights FILE' in lines[1]
    assert not catalog.published_path('ddcolor-tiny').exists()

def test_offline(served, stand_in, photos, tmp_path, monkeypatch):
    offer(monkeypatch, served, 'siggraph17', 'w.pth')
    monkeypatch.setattr('socket.getaddrinfo', lambda *a, **k: (_ for _ in ()).throw(OSError(-3, 'no net')))
    done = call('colorize', photos, '--out', tmp_path/'new', '--model', 'siggraph17')
    assert done.exit_code == 1 and 'no net' in done.stderr and '--weights FILE' in done.stderr, done.output

def test_a_dying_download_goes_on(served, stand_in, monkeypatch):
    path = offer(monkeypatch, served, 'eccv16', 'w.pth')
    served.most = {'w.pth': 300}
    done = call('models', '--download', 'eccv16')
    size, asked = path.stat().st_size, len(served.asked)
    if done.exit_code: # five tries of 300 bytes were not enough
        assert f'broke off after 1500 of {size} bytes' in done.stderr
        served.most = {}
        done = call('models', '--download', 'eccv16')
        assert served.asked[asked] == ('w.pth', 'bytes=1500-')
    assert done.exit_code == 0 and [o for o in served.asked if o[1] is None] == [('w.pth', None)]
    left = sorted(f.name for f in catalog.published_path('eccv16').parent.iterdir())
    assert left == ['model.json', 'model.safetensors']

def test_two_at_once_fetch_once(served, stand_in, monkeypatch):
    offer(monkeypatch, served, 'eccv16', 'w.pth')
    found = []
    def fetch(): found.append(catalog.fetch_published('eccv16', log=lambda text: None))
    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert found == [catalog.published_path('eccv16')]*3 and len(served.asked) == 1

@pytest.mark.parametrize('name', [n for n, p in catalog.PUBLISHED.items() if p.megabytes > 800])
def test_the_largest_are_not_exported(name, served, stand_in, tmp_path, monkeypatch):
    "One sentence, and nothing was asked of the server"
    offer(monkeypatch, served, name, 'w.pth')
    done = call('export', name, '--out', tmp_path/'model.onnx')
    said = ' '.join(done.output.split())
    assert done.exit_code == 2 and f"{name} is not exported by this command" in said, done.output
    assert 'export_onnx' in said and served.asked == [] and not (tmp_path/'model.onnx').exists()

def test_no_hash_no_download(served, stand_in, photos, tmp_path):
    done = call('colorize', photos, '--out', tmp_path/'new', '--model', 'ddcolor-paper')
    assert done.exit_code == 1 and 'nobody has published a hash' in done.stderr
    assert 'https://huggingface.co/piddnad/' in done.stderr and '--model ddcolor-paper --weights FILE' in done.stderr
    assert served.asked == []

@pytest.mark.parametrize('name', NAMES)
def test_weights_by_hand(name, served, stand_in, photos, tmp_path):
    file = tmp_path/'downloaded.pth'
    torch.save(content(name, StandIn().state_dict()), file)
    args = 'colorize', photos, '--model', name, '--weights', file
    done = call(*args, '--out', tmp_path/'new')
    assert done.exit_code == 0 and served.asked == [], done.output
    check_colours(tmp_path/'new')
    stored = tmp_path/'cache'/'models'
    digits = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    known = any(s.sha256 for s in catalog.PUBLISHED[name].sources) # then this is another file than the published one
    assert [f.name for f in stored.iterdir() if f.is_dir()] == [f'{name}-{digits}' if known else name]

def test_weights_that_do_not_fit(served, stand_in, photos, tmp_path):
    class Danger:
        def __reduce__(self): return os.mkdir, (str(tmp_path/'it ran'),)
    torch.save(dict(params=StandIn().state_dict(), more=Danger()), tmp_path/'danger.pth')
    torch.save({'other': torch.zeros(1)}, tmp_path/'other.pth')
    (tmp_path/'page.pth').write_text('<!DOCTYPE html>')
    for file, why in {'danger.pth': 'could run any code', 'other.pth': 'does not hold the weights of eccv16',
                      'page.pth': 'is a web page', 'none.pth': 'check the path'}.items():
        args = 'colorize', photos, '--out', tmp_path/'new', '--model', 'eccv16', '--weights', tmp_path/file
        done = call(*args, '--debug')
        assert why in str(done.exception), done.output
        assert call(*args).exit_code == 2
    assert not (tmp_path/'it ran').exists() and not (tmp_path/'new').exists()

@pytest.mark.parametrize('name, whose', [('siggraph17', 'eccv16'), ('eccv16', 'deoldify-stable or deoldify-video')])
def test_weights_of_another_network(name, whose, served, photos, tmp_path):
    "The sentence says what to type; the published lists of tensors tell whose weights they are"
    with without_values(): shapes = registry.published_network(catalog.PUBLISHED[whose.split()[0]].network).state_dict()
    file = tmp_path/'other.pth'
    torch.save({k: torch.zeros((), dtype=v.dtype).expand(v.shape) for k, v in shapes.items()}, file) # a few bytes
    done = call('colorize', photos, '--out', tmp_path/'new', '--model', name, '--weights', file)
    said = ' '.join(done.output.split())
    assert done.exit_code == 2 and f'give it with --model {whose}' in said, done.output

def test_the_list_says_what_is_here(served, stand_in, monkeypatch):
    offer(monkeypatch, served, 'deoldify-stable', 'w.pth')
    def rows(): return {r['name']: r for r in json.loads(call('models', '--json').stdout)}
    before = rows()
    assert {*NAMES} < {*before} and before['default']['present'] and not before['deoldify-stable']['present']
    assert call('models', '--download', 'deoldify-stable', '--half').exit_code == 0
    after = rows()
    assert after['deoldify-stable']['present'] and Path(after['deoldify-stable']['path']).exists()
    done = call('models', '--remove', 'deoldify-stable')
    assert done.exit_code == 0 and rows() == before
    done = call('models', '--remove', 'deoldify-stable')
    assert done.exit_code == 2
    table = call('models')
    assert all(re.search(rf'^{n}\b', table.output, re.M) for n in before), table.output

def test_a_blend_is_the_mean(served, stand_in, photos, tmp_path, monkeypatch):
    blue = {'ab': torch.tensor([-10., -40.]).view(1, 2, 1, 1)}
    offer(monkeypatch, served, 'ddcolor-tiny', 'one.pth')
    offer(monkeypatch, served, 'deoldify-artistic', 'two.pth', state=blue)
    one, two = 'ddcolor-tiny', 'deoldify-artistic'
    for model, ab in {f'{one}+{two}': (5, -35), f'0.8*{one}+0.2*{two}': (14, -32)}.items():
        done = call('colorize', photos, '--out', tmp_path/model[:3], '--model', model)
        assert done.exit_code == 0, done.output
        check_colours(tmp_path/model[:3], ab)
    done = call('colorize', photos, '--out', tmp_path/'new', '--model', 'ddcolor-tiny+ddcolor-tony')
    assert done.exit_code == 2 and len(served.asked) == 2

def test_models_and_blends_are_judged(served, stand_in, monkeypatch):
    from colorize_nb.evaluate.methods import Question, model_method
    offer(monkeypatch, served, 'ddcolor-tiny', 'one.pth')
    question = Question('x', np.full((32, 48), 128, np.uint8))
    def ab(model):
        method = model_method(model, device='cpu')
        assert method.name == model and method.info['megabytes'] >= 0
        return rgb2lab(method(question))[..., 1:].mean((0, 1))
    assert np.abs(ab('ddcolor-tiny') - (A, B)).max() < 1
    assert np.abs(ab('ddcolor-tiny+small') - (ab('small') + (A, B))/2).max() < 1.5 # bytes of three pictures

def save_red(path, value, bs='bs'):
    "An ONNX file that answers one RGB colour to everything"
    def port(name): return helper.make_tensor_value_info(name, TensorProto.FLOAT, [bs, 3, 'h', 'w'])
    numbers = [helper.make_tensor('w', TensorProto.FLOAT, (1, 3, 1, 1), [value, 0, 0]),
               helper.make_tensor('zero', TensorProto.FLOAT, (1,), [0])]
    nodes = [helper.make_node('Mul', ['input', 'zero'], ['none']), helper.make_node('Add', ['none', 'w'], ['output'])]
    g = helper.make_graph(nodes, 'red', [port('input')], [port('output')], numbers)
    onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid('', 17)], ir_version=8), path)

def test_an_onnx_file_of_another_program(photos, tmp_path):
    save_red(tmp_path/'red.onnx', 160.)
    args = 'colorize', photos, '--model', tmp_path/'red.onnx'
    done = call(*args, '--out', tmp_path/'new')
    assert done.exit_code == 1 and '--onnx-io rgb255 or rgb1' in done.stderr, done.output
    done = call(*args, '--out', tmp_path/'new', '--onnx-io', 'rgb255')
    assert done.exit_code == 0, done.output
    lab = rgb2lab(np.asarray(Image.open(tmp_path/'new'/'a.png')))
    a, b = rgb2lab(np.array([[[160, 0, 0]]])/255)[0, 0, 1:]
    hue = np.arctan2(lab[..., 2].mean(), lab[..., 1].mean()) # L is the photograph's
    assert np.abs(hue - np.arctan2(b, a)) < .02
    done = call(*args, '--out', tmp_path/'x', '--onnx-io', 'l-ab')
    assert done.exit_code == 1 and 'l-ab has 1 plane in and 2 out' in done.stderr, done.output
    assert call('colorize', photos, '--out', tmp_path/'x', '--model', 'default', '--onnx-io', 'l-ab').exit_code == 2

def colours(path): return rgb2lab(np.asarray(Image.open(path).convert('RGB')))

@pytest.fixture
def truth(tmp_path):
    "Three pictures in the stand-in's colour but for their left half, which is gray"
    folder = tmp_path/'truth'
    folder.mkdir()
    for i in range(3):
        lab = np.zeros((64, 96, 3))
        lab[..., 0], lab[:, 48:, 1:] = 40 + 10*i, (A, B)
        Image.fromarray(np.rint(lab2rgb(lab)*255).astype(np.uint8)).save(folder/f'{i}.png')
    return folder

def test_evaluate_takes_a_name(served, stand_in, truth, tmp_path, monkeypatch):
    offer(monkeypatch, served, 'ddcolor-tiny', 'one.pth')
    done = call('evaluate', '--data', truth, '--out', tmp_path/'figures', '--model', 'ddcolor-tiny', '--cases', 0)
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path/'figures'/'metrics.json').read_text())
    want = []
    for file in sorted(truth.iterdir()):
        true, lab = np.asarray(Image.open(file)), colours(file)
        lab[..., 1:] = A, B
        want.append(peak_signal_noise_ratio(true, np.rint(lab2rgb(lab)*255).clip(0, 255).astype(np.uint8)))
    assert abs(figures['summary']['ddcolor-tiny']['psnr'][0] - np.mean(want)) < .3, (figures['summary'], want)

def test_a_study_takes_a_name(served, stand_in, truth, tmp_path, monkeypatch):
    offer(monkeypatch, served, 'deoldify-video', 'one.pth')
    done = call('study', 'make', tmp_path/'study', '--real', truth, '--model', 'deoldify-video', '--trials', 2,
                '--practice', 0, '--checks', 0)
    assert done.exit_code == 0 and 'deoldify-video' in done.stdout, done.output

QUICK = 'eccv16', 'ddcolor-tiny' # a file with a hash, and one by hand; test_published.py has the others' answers

@pytest.mark.parametrize('name', [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in NAMES])
def test_a_true_network_end_to_end(name, served, photos, tmp_path, monkeypatch):
    "Weights drawn from the tensors' names come from the server; what is then here answers as the original program"
    network = catalog.PUBLISHED[name].network
    state, args = filled_weights(network), ['colorize', photos, '--model', name, '--size', 64]
    if any(s.sha256 for s in catalog.PUBLISHED[name].sources): offer(monkeypatch, served, name, 'w.pth', state=state)
    else: # nobody has published a hash
        torch.save(content(name, state), tmp_path/'by hand.pth')
        args += ['--weights', tmp_path/'by hand.pth']
    del state
    done = call(*args, '--out', tmp_path/'new')
    assert done.exit_code == 0, done.output
    for file, size in {'a.png': (60, 40), 'attic/b.png': (40, 60)}.items():
        lab = colours(tmp_path/'new'/file)
        assert Image.open(tmp_path/'new'/file).size == size and np.abs(lab[..., 1:]).max() > 1
        off = lab[..., 0] - colours(photos/file)[..., 0]
        assert np.abs(np.median(off)) < .5 # what no screen can show is moved into the gamut
    stored, meta = registry.load_generator(catalog.published_path(name))
    check_outputs(network, stored.network)
    assert meta['size'] == catalog.PUBLISHED[name].size
    shutil.rmtree(tmp_path) # up to 2 GB

def test_as_published(served, photos, tmp_path, monkeypatch):
    "The original's way through the command, held against Pillow and scikit-image; what it lacks is refused unfetched"
    net, state = filled('eccv16')
    offer(monkeypatch, served, 'eccv16', 'w.pth', state=state)
    args = 'colorize', photos, '--as-published', '--size', 64, '--out', tmp_path/'new'
    refusals = [(['default'], 'no original program'), (['eccv16+siggraph17'], 'no original program'),
                (['eccv16', '--workers', 2], 'one process'), (['eccv16', '--tta'], 'no --tta'),
                (['eccv16', '--saturation', 0], 'no --saturation'), (['eccv16', '--sizes', '64,96'], 'no --sizes')]
    for more, why in refusals:
        done = call(*args, '--model', *more)
        assert done.exit_code == 2 and why in ' '.join(done.output.split()), done.output
    assert served.asked == [] and not (tmp_path/'new').exists()
    done = call(*args, '--model', 'eccv16')
    assert done.exit_code == 0, done.output
    for file in ('a.png', 'attic/b.png'):
        want = eccv16_by_hand(net, Image.open(photos/file), 64)
        got = np.asarray(Image.open(tmp_path/'new'/file), np.float64)
        assert np.abs(got - want).max() <= 1 and (got == want).mean() > .99

@pytest.mark.parametrize('whole', [False, pytest.param(True, marks=pytest.mark.slow)], ids=['thin', 'whole'])
def test_finetune_a_published_colorizer(whole, served, truth, tmp_path, monkeypatch):
    "One command fetches it, trains it on a handful of pictures and leaves the fetched file as it was"
    if not whole: # an eighth of the channels
        for module in published, registry: monkeypatch.setattr(module, 'published_network', thin_network)
    shapes = {k: v.shape for k, v in registry.published_network('eccv16').state_dict().items()}
    before = filled_weights('eccv16') if whole else fill('eccv16', shapes)
    offer(monkeypatch, served, 'eccv16', 'w.pth', state=before)
    for i, file in enumerate(sorted(truth.iterdir())): shutil.copy(file, truth/f'more {i}.png')
    run = tmp_path/'run'
    args = ('train', 'finetune', '--model', 'eccv16', '--data', truth, '--out', run, '--size', 64, '--batch-size', 2,
            '--epochs', 1, '--device', 'cpu')
    done = call(*args)
    assert done.exit_code == 0, done.output
    assert 'phase 1-generator' in done.stdout and 'phase 2-gan' in done.stdout and 'GB of memory' in done.stdout
    fetched = catalog.published_path('eccv16')
    weights = load_file(fetched)
    for k, v in before.items(): assert torch.equal(weights[k], v), k
    gen, meta = registry.load_generator(run/'model.safetensors')
    assert (gen.name, meta['recipe'], meta['size']) == ('eccv16', 'finetune', 64)
    assert not torch.equal(gen.network.model1[0].weight, weights['model1.0.weight'].half().float()) # in phase 2
    assert call('colorize', truth/'0.png', '--out', tmp_path/'new', '--model', run).exit_code == 0
    assert call(*args, '--resume').exit_code == 0 # nothing is left to do; its settings are the same
    assert call(*args, '--resume', '--seed', 7).exit_code != 0

@pytest.mark.slow
@pytest.mark.parametrize('name', ['siggraph17', 'ddcolor-tiny', 'deoldify-artistic'])
def test_finetune_with_weights_by_hand(name, served, truth, tmp_path):
    "Both phases, a few steps each; nearly every tensor learns, and the installed weights stay as they were"
    network, file, run = catalog.PUBLISHED[name].network, tmp_path/'by hand.pth', tmp_path/'run'
    torch.save(content(name, filled_weights(network)), file)
    for i, path in enumerate(sorted(truth.iterdir())): shutil.copy(path, truth/f'more {i}.png')
    args = ('train', 'finetune', '--data', truth, '--out', run, '--size', 64, '--batch-size', 2, '--epochs', 1,
            '--device', 'cpu', '--weights', file)
    done = call(*args)
    assert done.exit_code == 2 and 'name of its network' in ' '.join(done.output.split()), done.output
    done = call(*args, '--model', name)
    assert done.exit_code == 0 and served.asked == [], done.output
    assert 'phase 1-generator' in done.stdout and 'phase 2-gan' in done.stdout
    installed, = (tmp_path/'cache'/'models').glob(f'{name}-*/model.safetensors')
    start = load_file(installed)
    for k, v in filled_weights(network).items(): assert torch.equal(start[k], v), k
    gen, meta = registry.load_generator(run/'model.safetensors')
    assert (gen.name, meta['recipe'], meta['size']) == (network, 'finetune', 64)
    begun = published_generator(network, start)
    old, new = dict(begun.named_parameters()), dict(gen.named_parameters())
    moved = [k for k, v in old.items() if not torch.equal(v.half(), new[k].half())]
    assert len(moved) > .8*len(old) and all(v.isfinite().all() for v in new.values()), (len(moved), len(old))
    assert call('colorize', truth/'0.png', '--out', tmp_path/'new', '--model', run).exit_code == 0
    assert Image.open(tmp_path/'new'/'0.png').size == (96, 64)
    shutil.rmtree(tmp_path) # up to 1 GB
