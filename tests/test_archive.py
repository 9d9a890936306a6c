"Archives that outgrow a machine: an S3 server that runs here, and workers of Ray of which some are killed."
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorize_nb.io.samples import gray_sample

ROOT = Path(__file__).resolve().parent.parent

class Tint:
    "Stands in for a network: one colour"
    name, size, saturation = 'tint', 64, 1.
    def predict_ab(self, pictures, size=None, tta=False): return [np.zeros((2, 2, 2), np.float32) for _ in pictures]
    def merge_chroma(self, picture, ab, target='rgb', saturation=None, exact=False):
        im = Image.merge('YCbCr', [picture.plane(), *(Image.new('L', picture.size, v) for v in (100, 150))])
        return im if target == 'jpeg' else im.convert('RGB')

@pytest.fixture
def s3(monkeypatch):
    "A client of an S3 server of this machine, with an empty bucket `museum`"
    moto = pytest.importorskip('moto.server', reason='no S3 server: pip install "moto[server]"')
    pytest.importorskip('s3fs', reason='no S3 for fsspec: pip install s3fs')
    import boto3
    server = moto.ThreadedMotoServer(ip_address='127.0.0.1', port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in dict(AWS_ACCESS_KEY_ID='test', AWS_SECRET_ACCESS_KEY='test', AWS_DEFAULT_REGION='us-east-1',
                            AWS_ENDPOINT_URL=f'http://{host}:{port}', NO_PROXY='*').items():
        monkeypatch.setenv(name, value)
    client = boto3.client('s3')
    client.create_bucket(Bucket='museum')
    yield client
    server.stop()

@pytest.mark.slow
def test_bucket_to_bucket(s3):
    "What is uploaded is seen by Amazon's own client, whole; a second run does nothing; parts of a folder's name differ"
    from colorize_nb.colorizer.batch import colorize_files
    f = BytesIO()
    gray_sample('moon').resize((40, 30)).save(f, 'png')
    wanted = [f'{i // 10}/{i:03}.png' for i in range(30)]
    for name in wanted: s3.put_object(Bucket='museum', Key=f'old/{name}', Body=f.getvalue())
    s3.put_object(Bucket='museum', Key='older/other.png', Body=f.getvalue())
    s3.put_object(Bucket='museum', Key='old/1/broken.jpg', Body=b'no picture')
    results = list(colorize_files('s3://museum/old', 's3://museum/new', Tint()))
    assert [r.status for r in results if 'broken' not in r.source] == ['done']*30
    assert [r.source for r in results if r.status == 'failed'] == ['s3://museum/old/1/broken.jpg']
    keys = [o['Key'] for o in s3.list_objects_v2(Bucket='museum', Prefix='new/')['Contents']]
    assert keys == [f'new/{name}' for name in wanted]
    data = s3.get_object(Bucket='museum', Key='new/2/020.png')['Body'].read()
    with Image.open(BytesIO(data)) as im: assert (im.size, im.mode) == ((40, 30), 'RGB')
    again = list(colorize_files('s3://museum/old', 's3://museum/new', Tint()))
    assert [r.status for r in again if 'broken' not in r.source] == ['skipped']*30

MAKER = '''import os
from colorize_nb.colorizer.core import Colorizer
class Noted:
    "The packaged model; notes each picture, with the process that paints it and the GPU that it was given"
    def __init__(self): self.colorizer = Colorizer.from_pretrained('default', 'cpu')
    def __getattr__(self, name): return getattr(self.colorizer, name)
    def merge_chroma(self, picture, *args, **kw):
        words = os.getpid(), os.environ.get('CUDA_VISIBLE_DEVICES') or '-', os.path.basename(picture.name)
        with open(os.environ['NOTES'], 'a') as f: f.write(' '.join(map(str, words)) + '\\n')
        return self.colorizer.merge_chroma(picture, *args, **kw)
'''

@pytest.fixture
def pictures(tmp_path, monkeypatch):
    "A function that makes so many small pictures and returns their folder and sizes; and an environment for workers"
    pytest.importorskip('ray', reason='no Ray: pip install "colorize_nb[scale]"')
    (tmp_path/'raymaker.py').write_text(MAKER)
    monkeypatch.syspath_prepend(tmp_path)
    path = os.pathsep.join(filter(None, [str(tmp_path), str(ROOT), os.environ.get('PYTHONPATH', '')]))
    for name, value in dict(PYTHONPATH=path, NOTES=str(tmp_path/'notes')).items(): monkeypatch.setenv(name, value)
    def make(n):
        (tmp_path/'old').mkdir()
        moon, draw = gray_sample('moon'), random.Random(0)
        sizes = {f'{i:04}.png': (draw.randint(16, 48), draw.randint(16, 48)) for i in range(n)}
        for name, size in sizes.items(): moon.resize(size).save(tmp_path/'old'/name)
        return tmp_path/'old', sizes
    return make

def notes(folder):
    "(process, GPU, picture) of each painting so far"
    return [line.split() for line in (folder/'notes').read_text().splitlines()]

def check_all(results, sizes, new):
    "Each picture was told once and is there once, whole, and nothing else is there"
    assert [Path(r.source).name for r in results] == [*sizes]
    assert Counter(r.status for r in results) == {'done': len(sizes)}
    assert sorted(f.name for f in new.iterdir()) == [*sizes]
    for name, size in sizes.items():
        with Image.open(new/name) as im:
            im.load()
            assert (im.size, im.mode) == (size, 'RGB')

def colorize_and_kill(make, folder, n, workers, at, batch_size):
    "Colorize `n` pictures by Ray; after the first `at` kill the worker that has just painted"
    from raymaker import Noted

    from colorize_nb.colorizer.ray import colorize_with_ray
    (old, sizes), new, results = make(n), folder/'new', []
    for r in colorize_with_ray('local', old, new, Noted, n=workers, size=32, batch_size=batch_size):
        results.append(r)
        if len(results) == at: os.kill(victim := int(notes(folder)[-1][0]), signal.SIGKILL)
    check_all(results, sizes, new)
    painted = Counter(name for _, _, name in notes(folder))
    assert set(painted) == set(sizes)
    twice = {name for name, times in painted.items() if times > 1} # what the victim had not yet written
    assert len(twice) <= 2*batch_size and twice <= {name for pid, _, name in notes(folder) if int(pid) == victim}
    assert len({pid for pid, *_ in notes(folder)}) > 1
    with pytest.raises(ProcessLookupError): os.kill(victim, 0)
    again = colorize_with_ray('local', old, new, Noted, n=workers)
    assert {r.status for r in again} == {'skipped'}
    return [r.message for r in results if r.message]

def test_ray_worker_killed(pictures, tmp_path, capfd):
    "One of two workers is killed at work: none of 40 pictures is lost, none is doubled; Ray prints nothing of its own"
    colorize_and_kill(pictures, tmp_path, 40, workers=2, at=8, batch_size=2)
    assert capfd.readouterr().out == '' # where --json writes
    for name in ('0003.png', '0020.png', '0039.png'): (tmp_path/'new'/name).unlink()
    words = ['colorize', tmp_path/'old', '--out', tmp_path/'new', '--size', 32, '--json']
    command = [sys.executable, '-m', 'colorize_nb', *map(str, words), '--ray', 'local', '--workers', '2']
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (report['done'], report['skipped'], report['failed']) == (3, 37, 0)

@pytest.mark.slow
def test_ray_worker_killed_of_four(pictures, tmp_path):
    "The same with 2,000 pictures and four workers"
    said = colorize_and_kill(pictures, tmp_path, 2000, workers=4, at=200, batch_size=8)
    assert said and all('the one that had it has died' in o or 'died before it could say so' in o for o in said)

@pytest.mark.slow
def test_ray_machine_lost(pictures, tmp_path):
    "A node of a cluster ends with its two workers; the one of the other, which has a GPU as far as Ray knows, does all"
    from ray.cluster_utils import Cluster
    from raymaker import Noted

    from colorize_nb.colorizer.ray import colorize_with_ray
    (old, sizes), new, results = pictures(300), tmp_path/'new', []
    usual = dict(object_store_memory=80*2**20, include_dashboard=False)
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, num_gpus=1) | usual)
    try:
        other = cluster.add_node(num_cpus=2, num_gpus=0, **usual)
        for r in colorize_with_ray(cluster.address, old, new, Noted, n=3, size=32, batch_size=2):
            results.append(r)
            if len(results) == 100: cluster.remove_node(other, allow_graceful=False)
    finally: cluster.shutdown()
    check_all(results, sizes, new)
    assert set(Counter(gpu for _, gpu, _ in notes(tmp_path))) == {'0', '-'} # the first worker, and the others

@pytest.mark.slow
def test_evaluate_ray_worker_killed(pictures, tmp_path):
    """One of two workers is killed while 40 pictures are judged: all figures but time and memory are those of one
    process, to the bit, and each picture is told once, in the order of the set"""
    import torch
    from colorize_nb.evaluate.run import run_evaluation
    from colorize_nb.io.samples import sample, samples
    psutil, threads = pytest.importorskip('psutil'), torch.get_num_threads()
    (tmp_path/'set').mkdir()
    for i in range(40):
        part = sample(samples()[i % 4]).crop((5*i, 3*i, 5*i + 90, 3*i + 60))
        part.save(tmp_path/'set'/f'{i:02}.png')
    (tmp_path/'set'/'20.png').write_bytes(b'no picture')
    usual = dict(data=tmp_path/'set', cases=0, device='cpu', size=64, draws=200, log=lambda line: None)
    told, victims = [], []
    def kill(name):
        told.append(name)
        if len(told) != 8: return
        family = psutil.Process().children(recursive=True)
        workers = [o for o in family if (o.cmdline() or [''])[0].startswith('ray::_JudgeWorker')]
        assert workers, [o.cmdline() for o in family]
        busy = max(workers, key=lambda o: 'look' in o.cmdline()[0]) # Ray writes the call into the name
        victims.append(busy)
        busy.kill()
    torch.set_num_threads(1) # as Ray's workers
    try: one = run_evaluation(['default'], out=tmp_path/'one', **usual)
    finally: torch.set_num_threads(threads)
    two = run_evaluation(['default'], out=tmp_path/'two', ray='local', workers=2, step=kill, **usual)
    assert victims and not victims[0].is_running()
    assert told == [f'{i:02}.png' for i in range(40)]
    assert one.pictures == two.pictures and len(two.pictures) == 39
    assert one.failures == two.failures and [name for name, _ in two.failures] == ['20.png']
    assert one.methods == two.methods and one.sets == two.sets
    for method, row in one.values.items():
        assert row.keys() == two.values[method].keys()
        for name in row.keys() - {'seconds', 'memory'}:
            np.testing.assert_array_equal(row[name], two.values[method][name], f'{method}, {name}')
