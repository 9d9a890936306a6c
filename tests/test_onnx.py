"A picture coloured with an ONNX file, in a process that has no PyTorch, is the picture that PyTorch gives."
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from colorize_nb.io.samples import gray_sample, sample

for name in ('onnxruntime', 'onnx', 'onnxscript'): pytest.importorskip(name, reason=f'{name} is not installed: pip install "colorize_nb[export]" to test exporting')

from colorize_nb.colorizer.engines import load_engine

from colorize_nb.models.registry import save_generator # noqa: E402
from colorize_nb.colorizer.onnx import export_onnx # noqa: E402

# One program for both sides. What `import` may not find comes first; then a model and pairs of pictures to read and files to write.
PROGRAM = '''
import sys
banned, model, *paths = sys.argv[1:]
for name in banned.split(): sys.modules[name] = None
import numpy as np
from colorize_nb.colorizer.core import Colorizer
c = Colorizer.from_pretrained(model, 'cpu')
for x, y in zip(paths[::2], paths[1::2]): np.save(y, np.asarray(c(x)))
print(type(c.engine).__name__, sorted({'torch', 'torchvision', 'fastai', 'safetensors', 'onnx', 'matplotlib', 'skimage'} & {k for k, v in sys.modules.items() if v}))
'''
BANNED = 'torch torchvision safetensors fastai timm onnx onnxscript matplotlib skimage sklearn pandas'

@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    "The packaged model as one ONNX file"
    return export_onnx('default', tmp_path_factory.mktemp('onnx')/'default.onnx')

@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    "A photograph in gray, one in colour, one with alpha and one with 16 bits"
    d = tmp_path_factory.mktemp('pictures')
    gray, cat = gray_sample('camera').convert('L'), sample('chelsea')
    gray.save(d/'gray.png'); cat.save(d/'colour.jpg', quality=90)
    la = gray.convert('LA'); la.putalpha(Image.linear_gradient('L').resize(la.size)); la.save(d/'alpha.png')
    Image.fromarray(np.asarray(gray).astype(np.uint16)*257).save(d/'deep.png')
    return sorted(d.iterdir())

def test_the_command_line_needs_no_torch(exported, inputs, tmp_path):
    "`colorize-nb colorize --model X.onnx` where PyTorch cannot be imported"
    code = f"import sys\nfor name in {BANNED.split()!r}: sys.modules[name] = None\nfrom colorize_nb.cli.app import main\nsys.argv = ['colorize-nb', 'colorize', {str(inputs[2])!r}, '--out', {str(tmp_path/'out')!r}, '--model', {str(exported)!r}, '--device', 'cpu']\nmain()"
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, env={**os.environ, 'PYTHONUTF8': '1'})
    assert done.returncode == 0, done.stderr
    assert np.ptp(np.asarray(Image.open(tmp_path/'out'/inputs[2].name).convert('RGB')).astype(int), axis=2).mean() > 4

def colour(model, inputs, out, banned=''):
    "Colour `inputs` with `model` in a process of its own; what it says, and the pictures"
    out.mkdir()
    files = [out/f'{p.stem}.npy' for p in inputs]
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', PROGRAM, banned, str(model), *(str(o) for pair in zip(inputs, files) for o in pair)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), [np.load(f).astype(int) for f in files]

def test_the_same_picture_without_torch(exported, inputs, tmp_path):
    said, without = colour(exported, inputs, tmp_path/'onnx', BANNED)
    assert said == 'OnnxEngine []'
    said, want = colour('default', inputs, tmp_path/'torch')
    assert said.startswith('TorchEngine')
    for p, a, b in zip(inputs, without, want):
        assert a.shape == b.shape and np.abs(a - b).max() <= 1, p.name
        assert np.ptp(a[..., :3], axis=2).mean() > 4, f'{p.name} stayed gray, so nothing was compared'

def test_torch_is_not_there(exported, tmp_path):
    "The ban works: the PyTorch model cannot be loaded under it, and says so in one sentence"
    with pytest.raises(AssertionError, match='take an .onnx file'): colour('default', [], tmp_path/'x', BANNED)

@pytest.mark.parametrize('bs, height, width', [(1, 160, 224), (1, 224, 160), (3, 96, 96), (2, 32, 416), (1, 512, 512)])
def test_parity_of_the_packaged_model(exported, bs, height, width):
    "Lightness of a photograph, less than a thousandth of a Lab unit apart, and all values are colours"
    one, other = load_engine('default', 'cpu'), load_engine(exported, 'cpu')
    from skimage.color import rgb2lab
    photo = rgb2lab(np.asarray(sample('astronaut').resize((width, height))))[..., 0].astype(np.float32)
    l = np.stack([np.roll(photo, 20*i, 1) for i in range(bs)])
    a, b = one.predict(l), other.predict(l)
    assert a.shape == b.shape == (bs, 2, height//4, width//4) and np.abs(a - b).max() < 1e-3 and np.abs(a).max() > 5

@pytest.mark.parametrize('options', [dict(depth=4), dict(depth=4, self_attention=True, norm='spectral', blur=True), dict(depth=3, last_cross=False, norm='batch')], ids=['plain', 'attention', 'shallow'])
def test_unets_keep_their_sizes_free(options, tmp_path):
    "U-Nets decide by the sizes of their maps; exported at one size they answer rightly at others"
    import torch

    from colorize_nb.models.unet import unet_generator
    torch.manual_seed(0)
    net = unet_generator('resnet18', pretrained=False, **options).eval()
    with torch.no_grad(): net.head.weight.mul_(10/net(torch.rand(1, 1, 64, 64))[:, 1:].abs().max()*.03) # random weights, answers that are colours
    save_generator(net, tmp_path/'net.safetensors', half=False)
    one, other = load_engine(tmp_path/'net.safetensors', 'cpu'), load_engine(export_onnx(tmp_path/'net.safetensors', tmp_path/'net.onnx'), 'cpu')
    rng = np.random.default_rng(0)
    for shape in [(1, 160, 224), (3, 96, 32), (2, 32, 352), (1, 288, 96)]:
        l = rng.uniform(0, 100, shape).astype(np.float32)
        a, b = one.predict(l), other.predict(l)
        assert a.shape == b.shape == (len(l), 2, *shape[1:]) and np.abs(a - b).max() < 1e-3, shape
        assert np.abs(a).max() > 5, 'the network answers gray, so nothing was compared'
    with pytest.raises(ValueError, match='multiples of 32'): other.predict(np.zeros((1, 97, 131)))

def test_torch_is_not_imported(exported):
    "Where PyTorch is installed, an ONNX file does not import it either"
    code = f"import sys; from colorize_nb.colorizer.engines import load_engine; load_engine({str(exported)!r}, 'cpu'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env={**os.environ, 'PYTHONUTF8': '1'}).stdout.strip() == 'False'
