"The colorizer's front door; its two engines give the same image, ONNX Runtime's in a process that has no PyTorch."
import inspect
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from colorize_nb.io.samples import gray_sample, gray_samples, sample, samples

for name in ('onnxruntime', 'onnx', 'onnxscript'):
    pytest.importorskip(name, reason=f'{name} is not installed: pip install "colorize_nb[export]" to test exporting')

import colorize_nb.colorizer # noqa: E402
from colorize_nb.colorizer.core import Colorizer # noqa: E402
from colorize_nb.colorizer.engines import load_engine # noqa: E402
from colorize_nb.colorizer.onnx import export_onnx # noqa: E402
from colorize_nb.models.registry import find_model, save_generator # noqa: E402

# One program for both sides. What `import` may not find comes first; then a model, and pairs of an image and a file.
PROGRAM = '''
import sys
banned, model, *paths = sys.argv[1:]
for name in banned.split(): sys.modules[name] = None
import numpy as np
from colorize_nb.colorizer import Colorizer
c = Colorizer.from_pretrained(model, 'cpu')
for x, y in zip(paths[::2], paths[1::2]): np.save(y, np.asarray(c(x)))
large = {'torch', 'torchvision', 'fastai', 'onnx', 'matplotlib', 'skimage'}
print(type(c.engine).__name__, sorted(large & {k for k, v in sys.modules.items() if v}))
'''
BANNED = 'torch torchvision fastai timm onnx onnxscript matplotlib skimage sklearn pandas scipy'
WEIGHTS = find_model('default').with_name('model.safetensors') # `default` by PyTorch

def run_python(code, *args):
    "Run `code` in a process of its own"
    command, environment = [sys.executable, '-W', 'ignore', '-c', code, *args], {**os.environ, 'PYTHONUTF8': '1'}
    return subprocess.run(command, capture_output=True, text=True, env=environment)

@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    "A packaged model exported as one ONNX file, weights as float16"
    return export_onnx('small', tmp_path_factory.mktemp('onnx')/'small.onnx', half=True)

WHOLE = pytest.param('whole', marks=pytest.mark.slow) # half a minute of exporting

PACKAGED = 'default', 'paintings', 'flowers', 'small' # each a graph and the weights beside it

def pair_of(model, request):
    "A model for ONNX Runtime and for PyTorch"
    path = find_model(model if model in PACKAGED else 'small').with_name('model.safetensors')
    return (model if model in PACKAGED else request.getfixturevalue('exported')), path

@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    "A photograph in gray, one in colour, one with alpha and one with 16 bits"
    d = tmp_path_factory.mktemp('images')
    gray, cat = gray_sample('camera').convert('L'), sample('chelsea')
    gray.save(d/'gray.png')
    cat.save(d/'colour.jpg', quality=90)
    la = gray.convert('LA')
    la.putalpha(Image.linear_gradient('L').resize(la.size))
    la.save(d/'alpha.png')
    Image.fromarray(np.asarray(gray).astype(np.uint16)*257).save(d/'deep.png')
    return sorted(d.iterdir())

def colour(model, inputs, out, banned=''):
    "Colour `inputs` with `model` in a process of its own; what it says, and the images"
    out.mkdir()
    files = [out/f'{p.stem}.npy' for p in inputs]
    done = run_python(PROGRAM, banned, str(model), *(str(o) for pair in zip(inputs, files) for o in pair))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), [np.load(f).astype(int) for f in files]

# The front door

def test_the_package_is_lazy():
    "`from colorize_nb.colorizer import Colorizer` imports no large package, and each name it offers is there"
    large = "sorted({'torch', 'fastai', 'onnxruntime', 'scipy', 'matplotlib', 'pandas', 'skimage'} & set(sys.modules))"
    done = run_python(f'import sys; from colorize_nb.colorizer import Colorizer; print(Colorizer.__name__, {large})')
    assert done.stdout == 'Colorizer []\n', done.stderr
    for name in colorize_nb.colorizer.__all__: assert getattr(colorize_nb.colorizer, name).__name__ == name
    assert set(colorize_nb.colorizer.__all__) <= set(dir(colorize_nb.colorizer))
    with pytest.raises(AttributeError, match='Paint'): colorize_nb.colorizer.Paint

def test_help_explains_the_parameters():
    "Each public method of `Colorizer` has a docstring, in which its parameters occur (or in the class's)"
    methods = [f for n, f in inspect.getmembers(Colorizer, callable) if n == '__call__' or n[0] != '_']
    assert len(methods) >= 9
    for f in methods:
        if f.__name__ == 'deep': continue # deprecated
        text = f.__doc__ + Colorizer.__doc__
        assert not [p for p in inspect.signature(f).parameters if p not in ('self', 'kwargs') and p not in text], f

def test_deep_is_deprecated():
    c, wedge = Colorizer.from_pretrained(device='cpu'), np.linspace(0, 65535, 900).astype(np.uint16).reshape(30, 30)
    with pytest.warns(DeprecationWarning, match='bits=16'): old = c.deep(wedge)
    assert old.dtype == np.uint16 and np.array_equal(old, c.colorize(wedge, bits=16))

# The two engines

def test_both_engines_give_the_same_images():
    "`default` by ONNX Runtime, the choice on a CPU, and by PyTorch: at most a gray level apart on all samples"
    one, other = Colorizer.from_pretrained('default', 'cpu'), Colorizer.load(WEIGHTS, 'cpu')
    assert [type(c.engine).__name__ for c in (one, other)] == ['OnnxEngine', 'TorchEngine']
    for x in [sample(n) for n in samples()] + [gray_sample(n) for n in gray_samples()]:
        exact, by_table = (difference(*(c(x, exact=o) for c in (one, other))) for o in (True, False))
        assert exact.max() <= 1
        # the table takes chroma in bytes: where chroma lies between two of them, the last bit decides
        assert by_table.max() <= 2 and (by_table > 1).mean() < 1e-5
        assert np.ptp(np.asarray(one(x)).astype(int), axis=2).mean() > 3, 'it stayed gray, so nothing was compared'

def difference(one, other):
    "Gray levels between two images"
    assert one.size == other.size
    return np.abs(np.asarray(one).astype(int) - np.asarray(other))

@pytest.mark.parametrize('model', ['default', 'paintings', WHOLE])
def test_the_same_image_without_torch(model, inputs, tmp_path, request):
    onnx, weights = pair_of(model, request)
    said, without = colour(onnx, inputs, tmp_path/'onnx', BANNED)
    assert said == 'OnnxEngine []'
    said, want = colour(weights, inputs, tmp_path/'torch')
    assert said.startswith('TorchEngine')
    for p, a, b in zip(inputs, without, want):
        assert a.shape == b.shape and np.abs(a - b).max() <= 2 and (np.abs(a - b) > 1).mean() < 1e-5, p.name
        assert np.ptp(a[..., :3], axis=2).mean() > 4, f'{p.name} stayed gray, so nothing was compared'

def test_torch_is_not_there(tmp_path):
    "The ban works: a PyTorch model cannot be loaded under it, and says so in one sentence"
    with pytest.raises(AssertionError, match='take model.onnx beside it'): colour(WEIGHTS, [], tmp_path/'x', BANNED)

@pytest.mark.parametrize('model', ['default', WHOLE])
def test_torch_is_not_imported(model, request):
    "Where PyTorch is installed, an ONNX file does not import it either"
    model, _ = pair_of(model, request)
    load = f"from colorize_nb.colorizer.engines import load_engine; load_engine({str(model)!r}, 'cpu')"
    assert run_python(f"import sys; {load}; print('torch' in sys.modules)").stdout.strip() == 'False'

def test_the_command_line_needs_no_torch(inputs, tmp_path):
    "`colorize-nb colorize` where PyTorch cannot be imported"
    args = ['colorize-nb', 'colorize', str(inputs[2]), '--out', str(tmp_path/'out'), '--device', 'cpu']
    ban = f'import sys\nfor name in {BANNED.split()!r}: sys.modules[name] = None\n'
    done = run_python(f'{ban}from colorize_nb.cli.app import main\nsys.argv = {args!r}\nmain()')
    assert done.returncode == 0, done.stderr
    assert np.ptp(np.asarray(Image.open(tmp_path/'out'/inputs[2].name).convert('RGB')).astype(int), axis=2).mean() > 4

@pytest.mark.parametrize('bs, height, width', [(1, 160, 224), (1, 224, 160), (3, 96, 96), (2, 32, 416), (1, 512, 512)])
@pytest.mark.parametrize('model', [*PACKAGED, WHOLE])
def test_parity_of_the_packaged_models(model, bs, height, width, request):
    "Lightness of a photograph, less than a thousandth of a Lab unit apart, and all values are colours"
    from skimage.color import rgb2lab
    one, other = (load_engine(o, 'cpu') for o in pair_of(model, request))
    photo = rgb2lab(np.asarray(sample('astronaut').resize((width, height))))[..., 0].astype(np.float32)
    l = np.stack([np.roll(photo, 20*i, 1) for i in range(bs)])
    a, b = one.predict(l), other.predict(l)
    assert a.shape == b.shape == (bs, 2, height//4, width//4)
    assert np.abs(a - b).max() < 1e-3 and np.abs(a).max() > 5

@pytest.mark.slow
def test_float16_weights_halve_the_file(exported):
    "Float16 weights and a graph: about as large as the .safetensors file"
    weights = find_model('small').with_name('model.safetensors')
    assert exported.stat().st_size < 1.1*weights.stat().st_size

@pytest.mark.parametrize('model', PACKAGED)
def test_a_packaged_graph_is_whole_for_other_programs(model, tmp_path):
    "The onnx package finds every weight at the byte where the graph says it is, and it is the PyTorch model's"
    import onnx
    import torch
    from safetensors.torch import load_file
    path = find_model(model).with_name('model.onnx')
    weights, graph = load_file(path.with_suffix('.safetensors')), onnx.load(path).graph # with what is beside it
    alone = onnx.load(path, load_external_data=False).graph
    beside = [o.name for o in alone.initializer if o.external_data]
    found = {o.name: onnx.numpy_helper.to_array(o) for o in graph.initializer}
    assert sum(weights[k].numel() for k in beside) > .9*sum(v.numel() for v in weights.values())
    for k in beside: assert torch.equal(torch.from_numpy(found[k].copy()), weights[k]), k

UNETS = dict(plain=dict(depth=4), attention=dict(depth=4, self_attention=True, norm='spectral', blur=True),
             shallow=dict(depth=3, last_cross=False, norm='batch'))

@pytest.mark.slow
@pytest.mark.parametrize('options', UNETS.values(), ids=UNETS)
def test_unets_keep_their_sizes_free(options, tmp_path):
    "U-Nets decide by the sizes of their maps; exported at one size they answer rightly at others"
    import torch

    from colorize_nb.models.unet import unet_generator
    torch.manual_seed(0)
    net, weights = unet_generator('resnet18', pretrained=False, **options).eval(), tmp_path/'net.safetensors'
    with torch.no_grad(): # random weights, answers that are colours
        net.head.weight.mul_(10/net(torch.rand(1, 1, 64, 64))[:, 1:].abs().max()*.03)
    save_generator(net, weights, half=False)
    one, other = load_engine(weights, 'cpu'), load_engine(export_onnx(weights, tmp_path/'net.onnx'), 'cpu')
    rng = np.random.default_rng(0)
    for shape in [(1, 160, 224), (3, 96, 32), (2, 32, 352), (1, 288, 96)]:
        l = rng.uniform(0, 100, shape).astype(np.float32)
        a, b = one.predict(l), other.predict(l)
        assert a.shape == b.shape == (len(l), 2, *shape[1:]) and np.abs(a - b).max() < 1e-3, shape
        assert np.abs(a).max() > 5, 'the network answers gray, so nothing was compared'
    with pytest.raises(ValueError, match='multiples of 32'): other.predict(np.zeros((1, 97, 131)))
