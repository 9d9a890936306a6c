"""Broken models, ONNX files, checkpoints, EXIF, XMP, hints and stored lists for `test_strange_models`:
`python fuzz_files.py FIRST COUNT FOLDER` prints as JSON what went wrong."""
import faulthandler
import json
import random
import resource
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

from fuzz_io import broken, peak

SECONDS, MEGABYTES = 20, 1200 # for one file at most; of address space beyond what the imports take
ODD = (None, True, -1, 0, 2**40, 10**400, 1e308, float('nan'), '', 'x'*300, '\x1b[2J', '\n', [], {}, [[[[]]]],
    ['a']*200)

def replaced(rng, value):
    "JSON's value with something odd in one of its places"
    if isinstance(value, dict) and value and rng.random() < .9:
        k = rng.choice(sorted(value))
        if rng.random() < .15: return {n: v for n, v in value.items() if n != k}
        return value | {k: replaced(rng, value[k])}
    if isinstance(value, list) and value and rng.random() < .8:
        i = rng.randrange(len(value))
        return [*value[:i], replaced(rng, value[i]), *value[i + 1:]]
    return rng.choice(ODD)

def graph():
    "An ONNX file: from `lightness` to `ab`"
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper
    def plane(name, c): return helper.make_tensor_value_info(name, TensorProto.FLOAT, ['bs', c, 'h', 'w'])
    weights = numpy_helper.from_array(np.linspace(-1, 1, 18, dtype=np.float32).reshape(2, 1, 3, 3), 'w')
    nodes = [helper.make_node('Conv', ['lightness', 'w'], ['x'], pads=[1]*4), helper.make_node('Tanh', ['x'], ['ab'])]
    made = helper.make_graph(nodes, 'g', [plane('lightness', 1)], [plane('ab', 2)], [weights])
    m = helper.make_model(made, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    helper.set_model_props(m, dict(colorize_nb=json.dumps(dict(format=1, name='plain', size=64))))
    return m.SerializeToString()

def seeds(folder):
    "Whole files of every kind: name -> bytes"
    import torch
    from colorize_nb.io.exif import ExifTag, pack_exif
    from colorize_nb.io.xmp import merge_xmp
    from colorize_nb.models.registry import get_arch, save_generator
    from colorize_nb.train.callbacks import write_checkpoint
    from colorize_nb.train.folder import RunOptions
    from colorize_nb.train.recipe import get_recipe
    torch.manual_seed(0)
    net = get_arch('plain_cnn')(nf=(4, 4, 4, 4, 4))
    save_generator(net, folder/'good.safetensors', dict(size=64, description='tiny'), half=False)
    opt = torch.optim.AdamW(net.parameters())
    settings = RunOptions().settings(get_recipe('lite'), 'photos')
    write_checkpoint(folder/'good.pt', dict(meta=dict(phase=0, settings=settings), epoch=1, cbs={},
        nets=dict(model=net.state_dict()), opt=opt.state_dict(), rows=[dict(phase='1-generator', epoch=0)]))
    exif = pack_exif({270: ExifTag(2, 6, b'Gorl3\0'), 274: ExifTag(3, 1, b'\6\0'),
        0x8769: {0x927C: ExifTag(7, 40, bytes(range(40)))}, 0x8825: {2: ExifTag(5, 3, bytes(range(24)))}})
    texts = dict(settings=settings, split=dict(format=1, train=['a.jpg'], valid=['b.jpg'], dropped=[['c.jpg', 'gray']]),
        hints=dict(format=1, size=[9, 9], hints=[dict(x=1, y=2, radius=2, rgb=[9, 99, 200])]),
        description=json.loads((folder/'good.json').read_text()))
    return dict(weights=(folder/'good.safetensors').read_bytes(), checkpoint=(folder/'good.pt').read_bytes(),
        onnx=graph(), exif=exif, xmp=merge_xmp(None, (9, 9), 'x', 'y')[0],
        **{k: json.dumps(v).encode() for k, v in texts.items()})

def opener(kind, good, folder):
    "What reads a file of this kind: a function of its path"
    import numpy as np
    from colorize_nb.colorizer.core import Colorizer
    from colorize_nb.colorizer.hints import Hints
    from colorize_nb.io.exif import tidy_exif
    from colorize_nb.io.files import read_split
    from colorize_nb.io.xmp import merge_xmp
    from colorize_nb.models.registry import load_generator
    from colorize_nb.train.callbacks import fill_network, read_checkpoint
    from colorize_nb.train.folder import read_settings, refuse_other_settings
    def model(path):
        net, meta = load_generator(path.with_suffix('.safetensors'))
        assert meta.get('size', 256) and isinstance(meta.get('name', ''), str)
    def onnx(path): Colorizer.load(path, 'cpu').engine.predict(np.zeros((1, 8, 8), np.float32))
    def checkpoint(path):
        if found := read_checkpoint(path):
            net = load_generator(folder/'good.safetensors')[0]
            for name, weights in found['nets'].items(): fill_network(net, weights, name)
    def settings(path):
        old = read_settings(path.parent)
        if old: refuse_other_settings(path.parent, old, json.loads(good['settings']))
    def xmp(path):
        packet, note = merge_xmp(path.read_bytes(), (9, 9), 'x', 'y', None, 6)
        ET.fromstring(packet.decode().partition('?>')[2].rpartition('<?')[0]) # it is XML again
        assert '\n' not in note
    def exif(path): assert tidy_exif(path.read_bytes(), (9, 9), 'x')[:2] in (b'II', b'MM')
    return dict(weights=model, description=model, onnx=onnx, checkpoint=checkpoint, settings=settings, xmp=xmp,
        exif=exif, hints=Hints.read, split=lambda path: read_split(path, folder))[kind]

NAMES = dict(weights='x.safetensors', description='x.json', onnx='x.onnx', checkpoint='x.pt', settings='settings.json',
    xmp='x.xmp', exif='x.exif', hints='x.hints.json', split='split.json')

def run(first, count, folder):
    "In a process of its own: read broken files and say what went wrong, as JSON on standard output"
    good, made, refused, wrong, slow = seeds(folder), {}, {}, [], 0
    for f in 'a.jpg', 'b.jpg': (folder/f).touch()
    openers = {k: opener(k, good, folder) for k in good}
    for k, data in good.items(): # the whole ones are fine
        for name in {'weights', 'description'} if k in ('weights', 'description') else {k}:
            (folder/NAMES[name]).write_bytes(good[name])
        openers[k](folder/NAMES[k])
    taken = next(int(o.split()[1])//1024 for o in open('/proc/self/status') if o.startswith('VmSize'))
    resource.setrlimit(resource.RLIMIT_AS, ((taken + MEGABYTES)*2**20,)*2)
    for i in range(first, first + count):
        rng = random.Random(i)
        kind = sorted(good)[i % len(good)]
        if good[kind][:1] == b'{' and rng.random() < .7:
            data = json.dumps(replaced(rng, json.loads(good[kind]))).encode()
        else: data = broken(rng, {kind: good[kind]})[1]
        for k in ('weights', 'description'): (folder/NAMES[k]).write_bytes(good[k])
        (folder/NAMES[kind]).write_bytes(data)
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=sys.__stderr__)
        (folder/'last').write_text(f'{i} {kind}')
        began = time.monotonic()
        try:
            openers[kind](folder/NAMES[kind])
            made[kind] = made.get(kind, 0) + 1
        except (ValueError, FileNotFoundError, RuntimeError, MemoryError) as e:
            refused[kind] = refused.get(kind, 0) + 1
            text = str(e)
            bad = not text or '\n' in text or len(text) > 700 or any(ord(c) < 32 for c in text)
            if bad or type(e) is not ValueError and kind not in ('onnx', 'split'):
                wrong.append((i, kind, f'no sentence: {type(e).__name__} {text[:300]}'))
        except Exception as e: # anything else is what this test is for
            import traceback
            wrong.append((i, kind, f'{type(e).__name__}: {e}'[:300], traceback.format_exc().splitlines()[-9:]))
        finally: faulthandler.cancel_dump_traceback_later()
        slow = max(slow, time.monotonic() - began)
    print(json.dumps(dict(made=made, refused=refused, wrong=wrong, slow=slow, peak=peak(), kinds=sorted(good))))

if __name__ == '__main__': run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
