"""Models from strangers: whatever is in the files, one sentence, quickly and without much memory. The files are made
here by hand, byte by byte where the safetensors or the ONNX library would not write them."""
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file, save

import warm
from colorize_nb.colorizer.core import Colorizer
from colorize_nb.models.registry import (
    ARCHS, WEIGHTS_KEY, find_model, get_arch, load_generator, onnx_meta, save_generator)

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 700 # characters of a sentence: some list what can be had

@pytest.fixture(scope='module')
def good(tmp_path_factory):
    "A small model of random weights: folder, description, bytes"
    folder = tmp_path_factory.mktemp('good')
    torch.manual_seed(0)
    save_generator(get_arch('plain_cnn')(nf=(4, 4, 4, 4, 4)), folder/'model.safetensors', dict(size=64), half=False)
    return folder, json.loads((folder/'model.json').read_text()), (folder/'model.safetensors').read_bytes()

def header(tensors, length=None, data=b''):
    "A safetensors file: length of the header, header, data; by the format's description"
    text = json.dumps(tensors).encode()
    return struct.pack('<Q', len(text) if length is None else length) + text + data

def refusal(path, load=load_generator):
    "What is said about a model that cannot be loaded: one sentence that names the file and says what to do"
    with pytest.raises((ValueError, FileNotFoundError)) as e: load(path)
    text = str(e.value)
    assert '\n' not in text and len(text) <= LONGEST and ':' in text, text
    assert path.stem in text and not any(ord(c) < 32 for c in text), text
    return text

def put(folder, meta, data, name='strange'):
    "A model's two files; None for one that is missing"
    path = folder/f'{name}.safetensors'
    if data is not None: path.write_bytes(data)
    if meta is not None:
        text = meta if isinstance(meta, (str, bytes)) else json.dumps(meta)
        path.with_suffix('.json').write_bytes(text if isinstance(text, bytes) else text.encode())
    return path

def test_good_model_loads(good):
    folder, meta, data = good
    net, back = load_generator(folder/'model.safetensors')
    assert back == meta and all(torch.equal(v, load_file(folder/'model.safetensors')[k])
                                for k, v in net.state_dict().items())

# The weights

def test_weights_that_are_no_weights(good, tmp_path):
    "By the safetensors format: 8 bytes of length, JSON, tensors one behind the other without gaps"
    folder, meta, data = good
    n = struct.unpack('<Q', data[:8])[0]
    head, body = json.loads(data[8:8 + n]), data[8 + n:]
    first = min((k for k in head if k != '__metadata__'), key=lambda k: head[k]['data_offsets'])
    other = max((k for k in head if k != '__metadata__'), key=lambda k: head[k]['data_offsets'])
    def changed(name, **kw): return header(head | {name: head[name] | kw}, data=body)
    odd = {
        'empty': b'', 'a text': b'Dear diary', 'truncated header': data[:8 + n//2], 'seven bytes': data[:7],
        'header longer than the file': struct.pack('<Q', 10**9) + data[8:],
        'header longer than memory': struct.pack('<Q', 2**63 + 9) + data[8:],
        'weights cut short': data[:-4], 'something behind them': data + b'more',
        'overlapping': changed(other, data_offsets=head[first]['data_offsets']),
        'offsets backwards': changed(other, data_offsets=head[other]['data_offsets'][::-1]),
        'offsets beyond the end': changed(other, data_offsets=[0, 10**12]),
        'a shape that its bytes do not have': changed(other, shape=[10**9]),
        'a negative shape': changed(other, shape=[-1]), 'a header that is a list': header([1]),
        'brackets without end': struct.pack('<Q', 10**5) + b'['*10**5, 'no tensor': header({})}
    for what, content in odd.items():
        assert refusal(put(tmp_path, meta, content)), what

def test_weights_that_do_not_fit(good, tmp_path):
    folder, meta, data = good
    state = load_file(folder/'model.safetensors')
    name = sorted(k for k, v in state.items() if v.is_floating_point())[0]
    def with_tensor(t): return save({k: v for k, v in (state | {name: t}).items() if v is not None})
    bad = state[name].clone()
    bad.view(-1)[0] = float('nan')
    cases = {
        'lacks 1': with_tensor(None), 'other shapes': with_tensor(state[name][:1].clone()),
        'another kind of numbers': with_tensor(state[name].to(torch.int32)), 'not numbers': with_tensor(bad),
        'has values that are not numbers': with_tensor(torch.full_like(bad, float('inf'))),
        'another kind': with_tensor(state[name].to(torch.complex64)),
        'kind of numbers': with_tensor(state[name].to(torch.float8_e4m3fn)),
        'has unknown 1': save(state | {'more': torch.zeros(1)})}
    for words, content in cases.items(): assert words in refusal(put(tmp_path, meta, content))
    for kind in torch.float16, torch.bfloat16, torch.float64: # these are kinds of the same numbers
        load_generator(put(tmp_path, meta, with_tensor(state[name].to(kind))))

def test_two_files_that_do_not_belong_together(good, tmp_path):
    folder, meta, data = good
    save_generator(get_arch('strided_autoencoder')(nf=4), tmp_path/'other.safetensors')
    assert 'do not belong together' in refusal(put(tmp_path, meta, (tmp_path/'other.safetensors').read_bytes()))
    assert 'no alone.json' in refusal(put(tmp_path, None, data, 'alone'))
    assert 'no model at' in refusal(put(tmp_path, meta, None, 'lonely'))

# The description

@pytest.mark.parametrize('words, meta', [
    ('is empty', ''), ('not JSON', 'x'), ('not JSON', b'\xff\xfe{'), ('version', '[]'), ('version', '"x"'),
    ('version', 'null'), ('without end', '['*10**5), ('not JSON', '{"format": ' + '9'*10**4 + '}'),
    ('deep', dict(more=json.loads('['*50 + ']'*50))), ('2 MB', ' '*(1 << 21)),
    ('architecture', dict(arch='evil')), ('architecture', dict(arch=['plain_cnn'])), ('architecture', dict(arch=None)),
    ('architecture', dict(arch='x'*9999)), ('no text', dict(name=['a', 'b'])), ('no text', dict(name=7)),
    ('cannot be shown', dict(name='a\x1b[31mb')), ('cannot be shown', dict(name='a\nb')),
    ('cannot be shown', dict(name='a'*1000)), ('control', dict(note='\x07')), ('no text', dict(description=['x'])),
    ('working size', dict(size='big')), ('saturation', dict(saturation=[1])),
    ('vivid', dict(vivid=1)), ('vivid', dict(vivid=dict(value=.5, calm=[0, 1, 1], full=[0, 1, float('nan')]))),
    ('no `config`', dict(config=None)), ('no `config`', dict(config=[1])),
    ('does not take', dict(config=dict(turbo=1))), ('does not take', dict(config=dict(nf=10**9))),
    ('does not take', dict(config=dict(nf=[10**30]*5))), ('does not take', dict(config=dict(ks=10**400))),
    ('does not take', dict(config=dict(nf=[10**400]*5))), ('does not take', dict(config=dict(nf=[[1], [2]]))),
    ('cannot be built', dict(config=dict(nf=[0, -1, 1, 1, 1]))), ('config', dict(config=dict(nf='abcde'))),
    ('config', dict(config=dict(nf=None))), ('config', dict(config=dict(ks='x'))),
    ('no output named', dict(config=dict(out='cmyk'))),
    ('other shapes', dict(config=dict(nf=[60000]*5, ks=99)))])
def test_strange_descriptions(good, tmp_path, words, meta):
    folder, own, data = good
    if isinstance(meta, dict): meta = own | meta
    assert words in refusal(put(tmp_path, meta, data))

HUGE = [dict(arch='lite_generator', config=dict(nf=[60000]*4)), dict(arch='pix2pix_unet', config=dict(depth=60000)),
        dict(arch='conv_vae', config=dict(size=65536, z=65536)), dict(arch='plain_cnn', config=dict(nf=[65536]*5)),
        dict(arch='skip_generator', config=dict(n_layers=60000)),
        dict(arch='conv_autoencoder', config=dict(nf=[65536]*99)),
        dict(arch='zhang_net', config=dict(step=1e-9)),
        dict(arch='unet_generator', config=dict(arch='no_such_network')),
        dict(arch='lite_bins', config=dict(nf=[60000]*4)), dict(arch='conditional_vae', config=dict(z=65536))]

def test_huge_networks_are_not_built(good, tmp_path):
    """In a process of its own: each is refused in a sentence, and all together need less than 1 GB of memory more. The
    first alone would take more than 100 GB."""
    pytest.importorskip('resource')
    folder, own, data = good
    names = [str(put(tmp_path, own | meta, data, f'huge{i}')) for i, meta in enumerate(HUGE)]
    code = '''import resource, sys, torch
from colorize_nb.models.registry import get_arch, load_generator
for arch in sys.argv[1].split(): get_arch(arch)
def most(): # bytes; Linux counts the parent's peak into `ru_maxrss`
    try: return next(1024*int(o.split()[1]) for o in open('/proc/self/status') if o.startswith('VmHWM'))
    except OSError: return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*(1 if sys.platform == 'darwin' else 1024)
import torchvision
with torch.device('meta'): get_arch('lite_generator')()
before = most()
for path in sys.argv[2:]:
    try: load_generator(path)
    except ValueError as e: assert '\\n' not in str(e) and path.rpartition('/')[2][:5] in str(e), e
    else: raise AssertionError(path)
print(most() - before)'''
    archs = ' '.join(sorted({m['arch'] for m in HUGE}))
    done = warm.run(archs, *names, code=code)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 1e9, done.stdout

@pytest.mark.slow
def test_every_architecture_has_a_plan():
    "Built without memory, each of ours has the names and shapes that it has with it"
    configs = dict(zhang_resnet50={}, unet_generator=dict(pretrained=False, norm='spectral', self_attention=True))
    for arch in [a for a, module in ARCHS.items() if module.startswith('colorize_nb.')]:
        make, config = get_arch(arch), configs.get(arch, {})
        with torch.device('meta'): plan = make(**config).state_dict()
        plan, real = ({k: (v.shape, v.dtype, v.device.type) for k, v in o.items()}
                      for o in (plan, make(**config).state_dict()))
        assert {k: v[:2] for k, v in plan.items()} == {k: v[:2] for k, v in real.items()}, arch
        assert {v[2] for v in plan.values()} == {'meta'}

# Files that are none

def quickly(act, seconds=60):
    "What `act` returns; a failure if it hangs, in which case its thread is left behind"
    got = []
    def run():
        try: got.append(act())
        except BaseException as e: got.append(e) # noqa: BLE001
    t = threading.Thread(target=run, daemon=True)
    t.start()
    t.join(seconds)
    assert got, 'it hangs'
    if isinstance(got[0], BaseException): raise got[0]
    return got[0]

@pytest.mark.skipif(os.name != 'posix', reason='no named pipes and devices')
@pytest.mark.parametrize('suffix', ['.safetensors', '.onnx', '.json'])
@pytest.mark.parametrize('kind', ['pipe', 'device', 'folder', 'loop'])
def test_what_is_no_file(good, tmp_path, suffix, kind):
    "Neither a pipe, which waits, nor a device, which does not end, is opened"
    folder, meta, data = good
    path = tmp_path/f'strange{suffix}'
    if suffix == '.json': (tmp_path/'strange.safetensors').write_bytes(data)
    else: (tmp_path/'strange.json').write_text(json.dumps(meta))
    if kind == 'pipe': os.mkfifo(path)
    elif kind == 'device': path.symlink_to('/dev/zero')
    elif kind == 'folder': path.mkdir()
    else: path.symlink_to(path)
    model = tmp_path/'strange.onnx' if suffix == '.onnx' else tmp_path/'strange.safetensors'
    for load in (Colorizer.load, *([] if suffix == '.onnx' else [load_generator])):
        text = quickly(lambda: refusal(model, load))
        assert {'pipe': 'named pipe', 'device': 'device', 'folder': 'folder', 'loop': 'no '}[kind] in text

@pytest.mark.skipif(os.name != 'posix', reason='sparse files')
def test_files_larger_than_any_model(good, tmp_path):
    "Files with holes: 5 GB that take no place on the disk are not read"
    folder, meta, data = good
    for name in 'strange.safetensors', 'strange.onnx':
        put(tmp_path, meta, None)
        with open(tmp_path/name, 'wb') as f: f.truncate(5 << 30)
        text = quickly(lambda: refusal(tmp_path/name, Colorizer.load))
        assert '5,369 MB' in text, text # 5 * 2^30 bytes

# ONNX

def graph(nodes, weights=(), more=None, name='plain'):
    "An ONNX model from `lightness` to `ab`"
    def plane(name, c): return helper.make_tensor_value_info(name, TensorProto.FLOAT, ['bs', c, 'h', 'w'])
    made = helper.make_graph(nodes, 'plain', [plane('lightness', 1)], [plane('ab', 2)], list(weights))
    opsets = [helper.make_opsetid('', 17), helper.make_opsetid('com.example', 1)]
    m = helper.make_model(made, opset_imports=opsets, ir_version=8, functions=more or [])
    helper.set_model_props(m, dict(colorize_nb=json.dumps(dict(format=1, name=name, size=64))))
    return m

PQ = helper.make_tensor('pq', TensorProto.FLOAT, (1, 2, 1, 1), (.5, -.25))
MUL = helper.make_node('Mul', ['lightness', 'pq'], ['ab'])

def endless():
    "A loop that goes on for 2^63 - 1 rounds, each of which gives the same"
    body = helper.make_graph(
        [helper.make_node('Identity', ['go'], ['go_on']), helper.make_node('Identity', ['x'], ['y'])], 'body',
        [helper.make_tensor_value_info('i', TensorProto.INT64, []),
         helper.make_tensor_value_info('go', TensorProto.BOOL, []),
         helper.make_tensor_value_info('x', TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info('go_on', TensorProto.BOOL, []),
         helper.make_tensor_value_info('y', TensorProto.FLOAT, None)])
    often = helper.make_tensor('often', TensorProto.INT64, [], [2**63 - 1])
    go = helper.make_tensor('go', TensorProto.BOOL, [], [True])
    return graph([helper.make_node('Mul', ['lightness', 'pq'], ['first']),
                  helper.make_node('Loop', ['often', 'go', 'first'], ['ab'], body=body)], [PQ, often, go])

def laughs(depth=40):
    "Functions that call one another twice: 2^40 nodes when they are written out"
    made = []
    for i in range(depth):
        inner = [helper.make_node(f'f{i + 1}', ['x'], ['y'], domain='com.example'),
                 helper.make_node(f'f{i + 1}', ['y'], ['z'], domain='com.example')]
        if i == depth - 1: inner = [helper.make_node('Identity', ['x'], ['z'])]
        made.append(helper.make_function('com.example', f'f{i}', ['x'], ['z'], inner, [helper.make_opsetid('', 17),
                                         helper.make_opsetid('com.example', 1)]))
    nodes = [helper.make_node('f0', ['lightness'], ['x'], domain='com.example'),
             helper.make_node('Mul', ['x', 'pq'], ['ab'])]
    return graph(nodes, [PQ], made)

def branch():
    "A condition with a graph in each branch"
    def inner(name): return helper.make_graph([helper.make_node('Identity', ['lightness'], ['y'])], name, [],
                                              [helper.make_tensor_value_info('y', TensorProto.FLOAT, None)])
    go = helper.make_tensor('go', TensorProto.BOOL, [], [True])
    return graph([helper.make_node('If', ['go'], ['x'], then_branch=inner('a'), else_branch=inner('b')),
                  helper.make_node('Mul', ['x', 'pq'], ['ab'])], [PQ, go])

def test_good_graph_runs(tmp_path):
    onnx.save(graph([MUL], [PQ]), tmp_path/'good.onnx')
    l = np.full((1, 4, 4), 50, np.float32)
    ab = Colorizer.load(tmp_path/'good.onnx', 'cpu').engine.predict(l)
    assert np.array_equal(ab, np.stack([l/2, -l/4], 1))

def parted(folder, location='strange.safetensors', **weights):
    "A graph whose numbers are in strange.safetensors, for which it was made"
    away = helper.make_tensor('pq', TensorProto.FLOAT, (1, 2, 1, 1), (.5, -.25))
    away.ClearField('float_data')
    away.data_location = TensorProto.EXTERNAL
    for k, v in dict(location=location, offset='0', length='8').items(): away.external_data.add(key=k, value=v)
    made, content = graph([MUL], [away]), save(weights)
    made.metadata_props.add(key=WEIGHTS_KEY, value=hashlib.sha256(content).hexdigest())
    (folder/'strange.safetensors').write_bytes(content)
    (folder/'strange.onnx').write_bytes(made.SerializeToString())
    return folder/'strange.onnx'

@pytest.mark.parametrize('location', ['strange.safetensors', '../secret', '/dev/zero'])
def test_a_graph_takes_its_weights_by_name(tmp_path, location):
    "Wherever it says they are: no other file is opened than the one beside it"
    path = parted(tmp_path, location, pq=torch.tensor([.5, -.25]).view(1, 2, 1, 1))
    l = np.full((1, 4, 4), 50, np.float32)
    ab = quickly(lambda: Colorizer.load(path, 'cpu').engine.predict(l))
    assert np.array_equal(ab, np.stack([l/2, -l/4], 1))

@pytest.mark.parametrize('words, weights', [
    ("no 'pq'", dict(q=torch.ones(1, 2, 1, 1))), ('cannot be run', dict(pq=torch.ones(2))),
    ('cannot be run', dict(pq=torch.ones(1, 2, 1, 1, dtype=torch.float16))),
    ('cannot be run', dict(pq=torch.ones(1, 2, 1, 1, dtype=torch.float64))),
    ('cannot be run', dict(pq=torch.ones(1, 2, 1, 1, dtype=torch.int64))),
    ('again', dict(pq=torch.ones(1, 2, 1, 1, dtype=torch.bfloat16)))])
def test_weights_that_do_not_fit_a_graph(tmp_path, words, weights):
    assert words in quickly(lambda: refusal(parted(tmp_path, **weights), Colorizer.load))

def test_two_models_are_not_mixed(tmp_path):
    "A packaged graph beside another model's weights, which have the same names and shapes"
    one, other = (find_model(m).parent for m in ('default', 'paintings'))
    shutil.copy(one/'model.onnx', tmp_path/'mixed.onnx')
    shutil.copy(other/'model.safetensors', tmp_path/'mixed.safetensors')
    assert 'was made for' in refusal(tmp_path/'mixed.onnx', Colorizer.load)

@pytest.mark.skipif(os.name != 'posix', reason='no named pipes and devices')
@pytest.mark.parametrize('kind', ['nothing', 'pipe', 'device', 'folder', 'hole', 'short'])
def test_what_is_no_file_beside_a_graph(tmp_path, kind):
    path, beside = parted(tmp_path, pq=torch.ones(1, 2, 1, 1)), tmp_path/'strange.safetensors'
    content = beside.read_bytes()
    beside.unlink()
    if kind == 'pipe': os.mkfifo(beside)
    elif kind == 'device': beside.symlink_to('/dev/zero')
    elif kind == 'folder': beside.mkdir()
    elif kind == 'short': beside.write_bytes(content[:-3])
    elif kind == 'hole':
        with open(beside, 'wb') as f: f.truncate(5 << 30)
    words = dict(nothing='not beside it', pipe='named pipe', device='device', folder='folder', hole='5,369 MB',
                 short='not the file')
    assert words[kind] in quickly(lambda: refusal(path, Colorizer.load))

@pytest.mark.parametrize('words, make', [
    ('Loop', endless), ('com.example.f0', laughs), ('If', branch),
    ('RandomNormalLike', lambda: graph([helper.make_node('RandomNormalLike', ['lightness'], ['x']),
                                        helper.make_node('Mul', ['x', 'pq'], ['ab'])], [PQ])),
    ('com.example.Mul', lambda: graph([helper.make_node('Mul', ['lightness', 'pq'], ['ab'], domain='com.example')],
                                      [PQ])),
    ('no text', lambda: graph([MUL], [PQ], name=['a'])),
    ('cannot be shown', lambda: graph([MUL], [PQ], name='\x1b[2J'))])
def test_graphs_that_may_not_end(tmp_path, words, make):
    "Refused by what they compute with, before ONNX Runtime sees them"
    (tmp_path/'strange.onnx').write_bytes(make().SerializeToString())
    assert words in quickly(lambda: refusal(tmp_path/'strange.onnx', Colorizer.load))

def test_a_description_within_an_onnx_file(tmp_path):
    for words, text in {'not JSON': '{', 'without end': '['*10**5, 'version': '[]'}.items():
        m = graph([MUL], [PQ])
        helper.set_model_props(m, dict(colorize_nb=text))
        (tmp_path/'strange.onnx').write_bytes(m.SerializeToString())
        assert words in refusal(tmp_path/'strange.onnx', Colorizer.load)

def test_millions_of_parts(tmp_path):
    "A file of nothing but tiny parts is given up after a million of them"
    (tmp_path/'strange.onnx').write_bytes(b'\x08\x08'*(2 << 20)) # ir_version, two million times
    assert 'no ONNX model' in refusal(tmp_path/'strange.onnx', onnx_meta)
    (tmp_path/'short.onnx').write_bytes(b'\x08\x08'*99) # as good as that
    assert 'not exported by' in refusal(tmp_path/'short.onnx', onnx_meta)

def test_too_large_a_result_is_an_error(tmp_path):
    "2^44 numbers from a few bytes: there is no such memory, which is one sentence too"
    shape = helper.make_tensor('shape', TensorProto.INT64, [4], [1, 2, 1 << 22, 1 << 21])
    nodes = [helper.make_node('Mul', ['lightness', 'pq'], ['x']), helper.make_node('ReduceMean', ['x'], ['m']),
             helper.make_node('Expand', ['m', 'shape'], ['ab'])]
    (tmp_path/'strange.onnx').write_bytes(graph(nodes, [PQ, shape]).SerializeToString())
    def run(path): return Colorizer.load(path, 'cpu').engine.predict(np.zeros((1, 8, 8), np.float32))
    with pytest.raises((ValueError, RuntimeError, MemoryError)) as e: quickly(lambda: run(tmp_path/'strange.onnx'))
    assert '\n' not in str(e.value)

def test_packaged_models_pass():
    "What the checks are for: our own files fit"
    for name in 'default', 'small', 'vivid', 'flowers', 'paintings':
        path = find_model(name)
        load_generator(path.with_suffix('.safetensors'))
        assert len(onnx_meta(path.with_suffix('.onnx'))[2]) > 20 # weights that are beside it

# All of them, broken at random

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads how much memory is taken as Linux tells it')
@pytest.mark.parametrize('count', [180, pytest.param(3600, marks=pytest.mark.slow)])
def test_broken_files(tmp_path, count):
    "Models, ONNX, checkpoints, EXIF, XMP, hints, lists: each is read or refused in one sentence; no crash, no hang"
    script = Path(__file__).with_name('fuzz_files.py')
    env = os.environ | dict(OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore')
    done = subprocess.run([sys.executable, script, '0', str(count), tmp_path], cwd=ROOT, env=env, capture_output=True,
        text=True, timeout=1800)
    last = (tmp_path/'last').read_text() if (tmp_path/'last').exists() else 'none'
    assert done.returncode == 0, f'ended with {done.returncode} at file {last}: {done.stderr[-3000:]}'
    got = json.loads(done.stdout.splitlines()[-1])
    assert not got['wrong'], got['wrong'][:5]
    assert sum(got['made'].values()) + sum(got['refused'].values()) == count
    assert set(got['refused']) >= set(got['kinds']) - {'xmp'} # what is wrong with XMP is a note
