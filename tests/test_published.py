"""Published networks: the outputs of the original programs, for weights that are drawn from the tensors' names.

`published.npz` holds facts about richzhang/colorization 4f6009e, piddnad/DDColor 2adb63f and jantic/DeOldify 5f86c28,
computed with their own code: names and shapes of all tensors as a hash, inputs in 64ths, each 17th number of the
outputs, their mean and standard deviation."""
import hashlib
import json
import subprocess
import sys
import zlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import lab2rgb, rgb2lab
from torch import nn

from colorize_nb.colorizer.core import Colorizer
from colorize_nb.colorizer.engines import load_engine
from colorize_nb.colorizer.onnx import export_onnx
from colorize_nb.models import published, registry
from colorize_nb.models.deoldify import fold_norms, without_values
from colorize_nb.models.published import colorize_as_published, published_generator
from colorize_nb.models.registry import PUBLISHED, load_generator, published_network, save_generator

FACTS = np.load(Path(__file__).parent/'published.npz')
NETWORKS = json.loads(FACTS['facts'].tobytes())
SLOW = pytest.mark.slow
NAMES = [pytest.param(n, marks=[SLOW] if n in ('ddcolor_large', 'deoldify_stable') else []) for n in NETWORKS]
MEAN, STD = np.float32([[[.485]], [[.456]], [[.406]]]), np.float32([[[.229]], [[.224]], [[.225]]])

# The rule: from the name of each tensor follow its values

def normal(key, shape): return np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(shape))
def unit(x): return x/np.sqrt((x*x).sum())

def draw(key, shape, gain):
    n = normal(key, shape)
    if key.endswith('running_var'): return 1 + .1*np.abs(n)
    if key.endswith('weight_u'): return unit(n)
    if key.endswith('weight_g'): return 1 + .1*n
    if key.endswith(('_feat.weight', '_embed.weight')): return n
    if len(shape) > 1: return n*gain/np.sqrt(np.prod(shape[1:]))
    return .1*n if key.endswith(('bias', 'running_mean')) else 1 + .1*n

def fill(name, shapes):
    "Weights for tensors (name -> shape)"
    gain, factor, res = NETWORKS[name]['gain'], NETWORKS[name]['factor'], {}
    for key, shape in shapes.items():
        base = key.rpartition('.')[0]
        if key in ('mean', 'std'): x = (MEAN if key == 'mean' else STD)[None]
        elif key.endswith('num_batches_tracked'): x = np.zeros((), np.int64)
        elif key.endswith('weight_v') and f'{base}.weight_orig' in shapes:
            w = draw(f'{base}.weight_orig', shapes[f'{base}.weight_orig'], gain)
            u = unit(normal(f'{base}.weight_u', shapes[f'{base}.weight_u']))
            x = unit(w.reshape(len(w), -1).T @ u)
        else: x = draw(key, shape, gain)*factor.get(key, 1)
        res[key] = torch.from_numpy(np.array(x, x.dtype if x.dtype == np.int64 else np.float32))
    return res

def inputs(name, case):
    "What the network was given"
    x = FACTS['b_ddcolor' if case == 'b' and name.startswith('ddcolor') else case].astype(np.float32)/64
    if name.startswith('deoldify'): x = (x - MEAN)/STD
    if name in ('eccv16', 'siggraph17'): x = x[:1]*100
    xs = [torch.from_numpy(x)[None]]
    if (name, case) == ('siggraph17', 'a'):
        y, x, *ab = torch.from_numpy(FACTS['hints']).long().T
        xs += [torch.zeros(1, 2, 64, 64), torch.zeros(1, 1, 64, 64)]
        xs[1][0, :, y, x] = torch.stack(ab).float()
        xs[2][0, 0, y, x] = 1
    return xs

@lru_cache(2) # up to 0.9 GB each, and seconds; whoever asks changes nothing in them
def filled_weights(name):
    "Its weights alone"
    with without_values(): shapes = {k: tuple(v.shape) for k, v in published_network(name).state_dict().items()}
    return fill(name, shapes)

def filled(name):
    "The network and its weights"
    net, weights = published_network(name), filled_weights(name)
    net.load_state_dict(weights)
    return net, weights

def thin_network(name):
    "The network with an eighth of its channels: the same graph, exported or trained in seconds"
    def thin(kind, k): # the first `k` arguments are numbers of channels
        def init(self, *args, **kwargs):
            kind.__init__(self, *(n//8 if n >= 64 else n for n in args[:k]), *args[k:], **kwargs)
        return type(kind.__name__, (kind,), dict(__init__=init))
    kinds = {o.__name__: thin(o, k) for o, k in ((nn.Conv2d, 2), (nn.ConvTranspose2d, 2), (nn.BatchNorm2d, 1))}
    with patch.multiple(nn, **kinds): return published_network(name)

def check_outputs(name, network):
    "Does `network` answer as the original program does?"
    for case, fact in NETWORKS[name]['cases'].items():
        with torch.no_grad(): out = network(*inputs(name, case))
        assert list(out.shape) == fact['shape']
        eps = 1e-4*max(1, fact['max'])
        np.testing.assert_allclose(out.numpy().ravel()[::17], FACTS[f'{name}_{case}'], rtol=0, atol=eps)

def photograph():
    "A small picture in colour, 45x30"
    y, x = np.mgrid[:30, :45]
    return Image.fromarray(np.stack([40 + 4*x, 60 + 5*y, 200 - 3*x], -1).astype(np.uint8))

def eccv16_by_hand(net, im, side):
    "The original's steps by Pillow and scikit-image: 0 to 255 (h,w,3) of a picture that the network sees as a square"
    im = im.convert('RGB')
    small = rgb2lab(np.asarray(im.resize((side, side), Image.Resampling.BICUBIC)))[..., 0]
    with torch.no_grad(): ab = net(torch.from_numpy(small).float()[None, None])
    ab = torch.nn.functional.interpolate(ab, (im.height, im.width), mode='bilinear', align_corners=False)
    lab = np.concatenate([rgb2lab(np.asarray(im))[..., :1], ab[0].permute(1, 2, 0).numpy()], -1)
    return np.rint(lab2rgb(lab)*255)

def test_eccv16_as_published():
    net, weights = filled('eccv16')
    im = photograph()
    want = eccv16_by_hand(net, im, 64)
    got = np.asarray(colorize_as_published(published_generator('eccv16', weights), im, 64), np.float64)
    assert np.abs(got - want).max() <= 1 and (got == want).mean() > .99

def test_hints_reach_siggraph17_through_an_engine():
    c = Colorizer(published_generator('siggraph17', filled('siggraph17')[1]), device='cpu')
    assert (c.name, c.size, c.engine.takes_hints) == ('siggraph17', 256, True)
    l, hints = FACTS['a'][:1].astype(np.float32)/64*100, np.zeros((1, 3, 64, 64), np.float32)
    y, x, *ab = FACTS['hints'].T
    hints[0, :2, y, x], hints[0, 2, y, x] = np.stack(ab, 1)/110, 1
    got, logits = c.engine.answer(l, hints)
    np.testing.assert_allclose(got.ravel()[::17], FACTS['siggraph17_a'], rtol=0, atol=2e-2)
    assert logits is None and np.abs(c.engine.predict(l) - got).max() > 1
    assert c(photograph(), size=64).size == (45, 30)

def answers(gen, tmp_path):
    "Export a generator and ask the file; what it answers about the input a, and what it was given"
    save_generator(gen, tmp_path/'model.safetensors', gen.meta, half=False)
    engine = load_engine(export_onnx(tmp_path, tmp_path/'model.onnx'), 'cpu')
    assert (engine.name, engine.takes_hints) == (gen.name, gen.name == 'siggraph17')
    l, hints = FACTS['a'][:1].astype(np.float32)/64*100, np.zeros((1, 3, 64, 64), np.float32)
    y, x, *ab = FACTS['hints'].T
    hints[0, :2, y, x], hints[0, 2, y, x] = np.stack(ab, 1)/110, 1
    got, logits = engine.answer(l, hints if engine.takes_hints else None)
    assert logits is None and got.shape == (1, 2, 64, 64)
    for file in tmp_path.iterdir(): file.unlink() # up to 1.8 GB
    return got, l, hints

def test_a_thin_network_is_exported(tmp_path, monkeypatch):
    "The graph of one that takes hints; the whole networks are slow"
    for module in published, registry: monkeypatch.setattr(module, 'published_network', thin_network)
    torch.manual_seed(0)
    weights = fill('siggraph17', {k: tuple(v.shape) for k, v in thin_network('siggraph17').state_dict().items()})
    gen = published_generator('siggraph17', weights)
    got, l, hints = answers(gen, tmp_path)
    def by_hand(hints): return gen.network(torch.from_numpy(l)[None], hints[:, :2]*110, hints[:, 2:]).clamp(-110, 110)
    with torch.no_grad(): want, without = (by_hand(torch.from_numpy(h)) for h in (hints, 0*hints))
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-2)
    assert np.abs(got - without.numpy()).max() > 1

@pytest.mark.slow
@pytest.mark.parametrize('name', NETWORKS)
def test_an_exported_network(name, tmp_path):
    "`export_onnx` compares it with PyTorch; Zhang's, which take L, are held against the original program too"
    got, *_ = answers(published_generator(name, filled_weights(name)), tmp_path)
    if name in ('eccv16', 'siggraph17'):
        eps = 1e-4*max(1, NETWORKS[name]['cases']['a']['max'])
        np.testing.assert_allclose(got.ravel()[::17], FACTS[f'{name}_a'], rtol=0, atol=max(eps, 2e-2))

@pytest.fixture
def pictures(tmp_path):
    "A handful of pictures in colour"
    folder = tmp_path/'my'
    folder.mkdir()
    for i in range(6): photograph().rotate(60*i).resize((72, 64)).save(folder/f'{i}.png')
    return folder

LARGE = 'ddcolor_large', 'deoldify_stable'
TRAINED = [pytest.param(n, marks=[] if n == 'eccv16' else [SLOW]) for n in NETWORKS if n not in LARGE]

@pytest.mark.parametrize('name', TRAINED)
def test_the_encoder_rests_at_first(name, pictures, tmp_path):
    "What `finetune` does first: its encoder stays to the bit, its decoder learns, the memory is stated"
    from colorize_nb.train.recipe import frozen_first, get_recipe
    from colorize_nb.train.run import run_recipe
    gen = published_generator(name, filled_weights(name))
    start = {k: v.clone() for k, v in gen.state_dict().items()}
    save_generator(gen, tmp_path/'start'/'model.safetensors', gen.meta, half=False)
    n, resting = (sum(p.numel() for p in o.parameters()) for o in (gen, gen.encoder))
    inside = {id(p) for p in gen.encoder.parameters()}
    modules = {k.rpartition('.')[0] for k, p in gen.named_parameters() if id(p) in inside}
    both = frozen_first(get_recipe('finetune'))
    only, lines = replace(both, phases=both.phases[:1]), []
    res = run_recipe(only, pictures, tmp_path/'run', model=tmp_path/'start', epochs=1, size=64, bs=2, device='cpu',
                     log=lines.append)
    first, after = 4*(resting + 4*(n - resting))/1e9, 16*n/1e9 # bytes: weights, gradients and two means
    assert any(f'{first:.1f} GB' in o and f'{after:.1f} GB' in o for o in lines), lines
    assert np.isfinite(res['metrics']['psnr'])
    again, meta = load_generator(tmp_path/'run'/'model.safetensors')
    now = again.state_dict()
    same = {k for k, v in now.items() if torch.equal(v, start[k].half().to(v.dtype))} # stored as float16
    assert {k for k in now if k.rpartition('.')[0] in modules} <= same # its batch norms too
    decoder = [k for k, _ in again.named_parameters() if k.rpartition('.')[0] not in modules]
    assert len(same.intersection(decoder)) < .2*len(decoder) and again.name == name
    assert Colorizer.load(tmp_path/'run')(photograph(), size=64).size == (45, 30)

@pytest.fixture(scope='module', params=NAMES)
def each(request):
    "Name, network and weights, one network at a time"
    return request.param, *filled(request.param)

def test_outputs_are_those_of_the_original_program(each):
    name, net, weights = each
    text = '\n'.join(sorted(f"{k} {'x'.join(map(str, v.shape))}" for k, v in weights.items()))
    assert len(weights) == NETWORKS[name]['keys']
    assert hashlib.sha256(text.encode()).hexdigest() == NETWORKS[name]['sha256']
    outputs = {}
    for case, fact in NETWORKS[name]['cases'].items():
        with torch.no_grad(): outputs[case] = out = net(*inputs(name, case))
        eps = 1e-4*max(1, fact['max'])
        assert list(out.shape) == fact['shape']
        np.testing.assert_allclose(out.numpy().ravel()[::17], FACTS[f'{name}_{case}'], rtol=0, atol=eps)
        np.testing.assert_allclose([out.mean(), out.std(correction=0)], [fact['mean'], fact['std']], rtol=0, atol=eps)
    with torch.no_grad():
        folded = fold_norms(net)
        for case, out in outputs.items(): # normalized once or at each call: equal to the last bit
            assert torch.equal(folded(*inputs(name, case)), out)
    assert not [k for k in folded.state_dict() if k.endswith(('_orig', '_u', '_v', '_g'))]

def test_a_generator_of_published_weights(each, tmp_path):
    "It predicts what the network does, keeps shape and lightness, and is read back from its own file"
    name, net, weights = each
    gen = published_generator(name, weights)
    assert not [v for v in gen.state_dict().values() if v.is_meta] and not gen.training
    l = torch.from_numpy(FACTS['c'][:1].astype(np.float32)/64)[None] # (1,1,50,38), L* in hundreds
    with torch.inference_mode():
        lab = gen(2*l - 1)
        assert lab.shape == (1, 3, 50, 38) and torch.equal(lab[:, :1], 2*l - 1) and lab[:, 1:].abs().max() <= 1
        if name == 'eccv16': # sides of 56 and 40 by repeating the edge, as by hand
            by_hand = net(torch.nn.functional.pad(100*l, (0, 2, 0, 6), mode='replicate'))[..., :50, :38]
            np.testing.assert_allclose(110*lab[:, 1:], by_hand.clamp(-110, 110), atol=1e-3)
    save_generator(gen, tmp_path/'model.safetensors', gen.meta, half=False) # as after a training
    again, meta = load_generator(tmp_path/'model.safetensors')
    assert (meta['name'], meta['size']) == (name, gen.size)
    with torch.inference_mode(): assert torch.equal(again(2*l - 1), lab)
    (tmp_path/'model.safetensors').unlink() # up to 0.9 GB

def test_loading_imports_no_compiler():
    "Which PyTorch does to draw nothing for a network without values: seconds, and a tenth of a gigabyte"
    code = """if True:
        import sys
        from colorize_nb.models import published, registry
        from colorize_nb.models.deoldify import without_values
        from colorize_nb.models.registry import published_network
        with without_values(): nets = [published_network(o) for o in ('eccv16', 'ddcolor_large')]
        print({v.device.type for n in nets for v in n.state_dict().values()}, 'sympy' in sys.modules)"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == "{'meta'} False\n", done.stderr

def test_names():
    assert list(NETWORKS) == list(PUBLISHED)
    with pytest.raises(ValueError, match='take one of eccv16'): published_network('eccv17')
