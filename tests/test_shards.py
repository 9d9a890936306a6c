"Shards: what a tar file may hold, stores that are whole or not there, batches that depend on nothing else, clean ends."
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import warm
from colorize_nb.io.samples import sample
from colorize_nb.train import store as store_module
from colorize_nb.train.shards import ShardLoader, SourceSampler, shard_dls
from colorize_nb.train.store import ImageStore, read_small

def encoded(im, format='PNG', **kwargs):
    "An image as a file's bytes"
    file = io.BytesIO()
    im.save(file, format, **kwargs)
    return file.getvalue()

def member(name, size=0, **kwargs):
    "A tar file's header"
    m = tarfile.TarInfo(name)
    m.size = size
    for k, v in kwargs.items(): setattr(m, k, v)
    return m

def pack(path, members, **kwargs):
    "A tar file of (name, bytes) pairs"
    with tarfile.open(path, 'w', **kwargs) as t:
        for name, data in members: t.addfile(member(name, len(data)), io.BytesIO(data))
    return path

def noise(n, seed=0, size=(40, 30)):
    "`n` images of coloured noise, all different"
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)) for _ in range(n)]

@pytest.fixture(scope='module')
def store(tmp_path_factory):
    "60 small images of three sources: 30, 20 and 10"
    names = [f'{s}_{i}.png' for s, n in (('a', 30), ('b', 20), ('c', 10)) for i in range(n)]
    path = tmp_path_factory.mktemp('shards')/'noise.tar'
    return ImageStore.build(pack(path, zip(names, map(encoded, noise(60)))), side=30)

# Files

def tree(folder): return sorted(str(p) for p in folder.rglob('*'))

def test_tar_writes_nothing_and_leads_nowhere(tmp_path):
    im = noise(1)[0]
    data, path = encoded(im), tmp_path/'in'/'tricks.tar'
    path.parent.mkdir()
    secret = tmp_path/'secret_0.png'
    secret.write_bytes(data)
    with tarfile.open(path, 'w') as t:
        for name in '../../escape_0.png', '/tmp/absolute_0.png', 'C:\\windows_0.png', 'plain_0.png':
            t.addfile(member(name, len(data)), io.BytesIO(data))
        t.addfile(member('soft_0.png', type=tarfile.SYMTYPE, linkname=str(secret)))
        t.addfile(member('hard_0.png', type=tarfile.LNKTYPE, linkname='plain_0.png'))
        t.addfile(member('pipe_0.png', type=tarfile.FIFOTYPE))
        t.addfile(member('folder_0.png', type=tarfile.DIRTYPE))
    before = tree(tmp_path)
    got = ImageStore.build(path)
    assert [n.split('/')[-1].split('\\')[-1] for n in got.names] == ['escape_0.png', 'absolute_0.png', 'windows_0.png',
                                                                    'plain_0.png']
    for i in range(4): assert np.array_equal(got[i].permute(1, 2, 0), im)
    assert tree(tmp_path) == before and not os.path.exists('/tmp/absolute_0.png')

@pytest.mark.parametrize('format', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar(tmp_path, format):
    name = 'ein/langer/Name/' + ('Blume/'*15) + 'blüte_0.png'
    got = ImageStore.build(pack(tmp_path/'t.tar', [(name, encoded(noise(1)[0]))], format=format))
    assert got.names == [f't.tar/{name}'] and got.sources == ['blüte']

def test_formats_off_the_list_are_never_opened(tmp_path):
    "Not even under another suffix: Pillow would start Ghostscript for EPS"
    eps = encoded(noise(1)[0], 'EPS')
    path = pack(tmp_path/'t.tar', [('a_0.eps', eps), ('a_1.png', eps), ('a_2.png', encoded(noise(1)[0]))])
    got = ImageStore.build(path)
    assert got.names == ['t.tar/a_2.png'] and [n for n, _ in got.dropped] == ['t.tar/a_1.png']

def test_a_member_said_to_be_huge(tmp_path):
    data = encoded(noise(1)[0])
    path = pack(tmp_path/'t.tar', [('a_0.png', data), ('a_1.png', data)])
    raw = bytearray(path.read_bytes())
    header = tarfile.TarInfo('a_1.png')
    header.size = 1 << 40
    start = 512 + 512*(-(-len(data)//512)) # where the second header is
    raw[start:start + 512] = header.tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(raw)
    got = ImageStore.build(path)
    assert got.names == ['t.tar/a_0.png'] and 'cut short' in dict(got.dropped)['t.tar/a_1.png']

def test_any_mode_of_image(tmp_path):
    "What PIL makes of them, over white where they are transparent"
    im = sample('coffee').resize((60, 40))
    clear = im.convert('RGBA')
    clear.putalpha(0)
    modes = dict(gray=im.convert('L'), palette=im.quantize(16), clear=clear)
    for n, o in modes.items(): o.save(tmp_path/f'{n}_0.png')
    got = ImageStore.build(tmp_path)
    found = {s: got[i].permute(1, 2, 0).numpy() for i, s in enumerate(got.sources)}
    assert np.array_equal(found['gray'], np.asarray(modes['gray'].convert('RGB')))
    assert np.array_equal(found['palette'], np.asarray(modes['palette'].convert('RGB')))
    assert (found['clear'] == 255).all()

def test_avif_and_threads_setting(tmp_path):
    from PIL import AvifImagePlugin, features
    if not features.check('avif'): pytest.skip('Pillow without AVIF')
    im = sample('china').resize((96, 64))
    im.save(tmp_path/'a_0.avif', quality=95)
    before = AvifImagePlugin.DEFAULT_MAX_THREADS
    got = ImageStore.build(tmp_path)
    with Image.open(tmp_path/'a_0.avif') as o: assert np.array_equal(got[0].permute(1, 2, 0), np.asarray(o))
    assert AvifImagePlugin.DEFAULT_MAX_THREADS == before

@pytest.mark.parametrize('size, want', [((300, 200), (150, 100)), ((200, 300), (100, 150)), ((1000, 200), (150, 100)),
                                        ((100, 90), (100, 90)), ((400, 90), (135, 90)), ((1, 1), (1, 1)),
                                        ((3, 1000), (3, 4))])
def test_sizes(size, want):
    "Short side at most 100, long side at most 1.5 times that"
    h, w = read_small(encoded(Image.new('RGB', size)), 100).shape[:2]
    assert (w, h) == want

def test_names_tell_folders_apart(tmp_path):
    for folder in 'garden', 'street':
        (tmp_path/folder).mkdir()
        for i, im in enumerate(noise(2)): im.save(tmp_path/folder/f'{i}.png')
    got = ImageStore.build([tmp_path/'garden', tmp_path/'street'/'1.png'])
    assert got.names == ['garden/0.png', 'garden/1.png', 'street/1.png']
    assert got.sources == ['garden', 'garden', 'street']

# A cache is whole or not there

def test_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    path = pack(tmp_path/'t.tar', [(f'a_{i}.png', encoded(im)) for i, im in enumerate(noise(8))])
    calls = []
    def stop(im):
        calls.append(0)
        if len(calls) == 4: raise KeyboardInterrupt
        return grid(im)
    grid = store_module._grid
    monkeypatch.setattr(store_module, '_grid', stop)
    with pytest.raises(KeyboardInterrupt): ImageStore.build(path, cache=tmp_path/'c')
    assert tree(tmp_path) == [str(path)]
    monkeypatch.undo()
    assert len(ImageStore.build(path, cache=tmp_path/'c')) == 8

@pytest.mark.parametrize('cut', [1, 9, 40, 2000])
def test_cut_cache_is_built_anew(tmp_path, cut):
    path = pack(tmp_path/'t.tar', [('a_0.png', encoded(noise(1)[0]))])
    whole = ImageStore.build(path, cache=tmp_path/'c').data.clone()
    data = (tmp_path/'c').read_bytes()
    (tmp_path/'c').write_bytes(data[:-cut])
    with pytest.raises(ValueError, match='cut short'): ImageStore.load(tmp_path/'c')
    assert torch.equal(ImageStore.build(path, cache=tmp_path/'c').data, whole)
    assert (tmp_path/'c').read_bytes() == data

def test_a_file_more_or_less(tmp_path):
    (tmp_path/'in').mkdir()
    ims = noise(3)
    for i, im in enumerate(ims[:2]): im.save(tmp_path/'in'/f'a_{i}.png')
    def build(): return ImageStore.build(tmp_path/'in', cache=tmp_path/'c')
    assert len(build()) == 2
    ims[2].save(tmp_path/'in'/'a_2.png')
    assert len(build()) == 3
    (tmp_path/'in'/'a_0.png').unlink()
    assert build().names == ['in/a_1.png', 'in/a_2.png']

# Order

def test_shares_of_weighted_sources(store):
    "Expected: 30*.5, 20 and 10*1.75 of 52.5 images, of which an epoch has 52"
    sampler = SourceSampler(store.sources, dict(a=.5, c=1.75))
    assert sampler.n == 52
    counts = [Counter(store.sources[i] for i in sampler.order(3, k)) for k in range(900)]
    for s, v in dict(a=15, b=20, c=17.5).items():
        mean = 52*v/52.5
        p = mean % 1
        assert abs(np.mean([c[s] for c in counts]) - mean) < 3*np.sqrt(p*(1 - p)/900)
        assert {c[s] for c in counts} == {int(mean), int(mean) + 1}

def test_no_image_again_before_all_of_its_source(store):
    order = SourceSampler(store.sources, dict(a=.9, b=2.5, c=1.)).order(0, 0).tolist()
    times = Counter(order)
    assert max(times[i] for i in order if store.sources[i] == 'a') == 1
    assert {times[i] for i, s in enumerate(store.sources) if s == 'b'} == {2, 3}
    assert {times[i] for i, s in enumerate(store.sources) if s == 'c'} == {1}

# Batches depend on nothing else

def grainy(rgb, generator):
    "A stand-in for film: the mean of the planes with noise"
    l = 100*rgb.mean(1, keepdim=True)
    return (l + 5*torch.randn(l.shape, generator=generator)).clamp(0, 100)

def loader(store, **kwargs): return ShardLoader(store, **dict(dict(size=24, bs=7, seed=5, film=grainy), **kwargs))

@pytest.mark.parametrize('prefetch', [0, 1, 5])
@pytest.mark.parametrize('position', [0, 3, 7])
def test_resume_inside_an_epoch(store, prefetch, position):
    "The same bytes, whatever was iterated before"
    whole = loader(store)
    for _ in range(2): last = [y for x, y in whole] # epochs 0 and 1
    other = loader(store, prefetch=prefetch)
    next(iter(other))
    torch.manual_seed(position)
    other.load_state_dict(dict(whole.state_dict(), epoch=1, position=position))
    rest = [y for x, y in other]
    assert len(last) == 8 and len(rest) == 8 - position
    assert all(torch.equal(a, b) for a, b in zip(last[position:], rest))
    assert other.state_dict() == whole.state_dict()

def weights_after(dl, batches, state=None, net=None):
    "A layer after so many steps of SGD, and where its loader stands"
    torch.manual_seed(0)
    net = net or nn.Conv2d(1, 2, 3, padding=1)
    opt = torch.optim.SGD(net.parameters(), .1)
    if state: dl.load_state_dict(state)
    while batches:
        for x, y in dl:
            opt.zero_grad()
            (net(torch.Tensor(x)) - torch.Tensor(y[:, 1:])).square().mean().backward()
            opt.step()
            batches -= 1
            if not batches: break
    return net, dl.state_dict()

def test_training_cut_in_two_is_the_training_in_one(store):
    whole, _ = weights_after(loader(store), 20)
    half, state = weights_after(loader(store), 11)
    assert (state['epoch'], state['position']) == (1, 3)
    both, _ = weights_after(loader(store, prefetch=0), 9, state, half)
    assert torch.equal(whole.weight, both.weight) and torch.equal(whole.bias, both.bias)

def test_steps_longer_than_a_pass(store):
    long = loader(store, steps=19)
    got = [y for x, y in long]
    assert len(got) == 19 and (long.epoch, long.position) == (2, 3)
    assert torch.equal(got[17], loader(store).make_batch(2, 1)[1])

def test_fewer_images_than_a_batch(store):
    few = loader(store.subset([1, 2]))
    assert len(few) == 1 and next(iter(few))[0].shape == (2, 1, 24, 24)

def test_split_is_by_file_and_seed(store):
    first, again = (shard_dls(store, .25, size=24, bs=4) for _ in range(2))
    parts = set(first.train_ds.names), set(first.valid_ds.names)
    assert not parts[0] & parts[1] and [len(p) for p in parts] == [45, 15]
    assert set(again.valid_ds.names) == parts[1]

# Ends

SCRIPT = '''
import sys, time, numpy as np, torch
from colorize_nb.train.shards import ImageStore, ShardLoader
data = torch.from_numpy(np.random.default_rng(0).integers(0, 256, 90*300, np.uint8))
store = ImageStore(data, [(f'a_{i}', 300*i, 10, 10, 50.) for i in range(90)])
def film(rgb, generator):
    time.sleep(.02)
    return 100*rgb.mean(1, keepdim=True)
batches = iter(ShardLoader(store, size=8, bs=1, film=film))
next(batches)
print('ready', flush=True)
'''

def test_a_loop_left_open_does_not_keep_the_process():
    "Nor is it killed by a thread when Python ends: in a true process"
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    p = subprocess.run([sys.executable, '-c', SCRIPT], capture_output=True, text=True, env=env, timeout=600)
    assert p.returncode == 0 and p.stdout == 'ready\n' and 'Traceback' not in p.stderr, p.stderr

@pytest.mark.skipif(os.name != 'posix', reason='signals')
def test_interrupt_ends_the_process():
    p = warm.start(code=f'{SCRIPT}for b in batches: time.sleep(60)')
    assert p.stdout.readline() == 'ready\n'
    time.sleep(.5)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=30) # not the minute that the loop would sleep
    assert 'KeyboardInterrupt' in err and p.returncode != 0
