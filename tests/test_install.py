"""The wheel, installed with the core's requirements alone into a fresh environment: small, quick to install, and it
colours."""
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow # builds, and asks a package index

def run(*cmd, cwd=None, **kw):
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    return subprocess.run([str(c) for c in cmd], cwd=cwd, env=env, capture_output=True, text=True, encoding='utf-8',
                          **kw)

@pytest.fixture(scope='module')
def source(tmp_path_factory):
    "A copy of this checkout: setuptools writes into the folder, and would take up what an earlier build left there"
    copy = tmp_path_factory.mktemp('source')/'colorize_nb'
    left = ('.git', '.venv*', '.*_cache', '__pycache__', '.ipynb_checkpoints', '*.egg-info', 'build', 'dist', '_proc',
            '_docs')
    return shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*left))

@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    "The wheel of this checkout"
    out = tmp_path_factory.mktemp('wheel')
    done = run(sys.executable, '-m', 'pip', 'wheel', source, '--no-deps', '-w', out)
    assert done.returncode == 0, done.stderr
    return next(out.glob('*.whl'))

@pytest.fixture(scope='module')
def core(wheel, tmp_path_factory):
    "A fresh environment with the wheel and what the core requires: its folder of programs"
    home = tmp_path_factory.mktemp('core')
    venv.create(home, with_pip=True)
    bin_ = home/('Scripts' if os.name == 'nt' else 'bin')
    before = size(home)
    # what is fetched, without the bytecode that Python makes of it (some 30 MB more): the figure is 250 MB
    done = run(bin_/'python', '-m', 'pip', 'install', '--progress-bar', 'off', '--no-compile', wheel)
    assert done.returncode == 0, done.stderr
    (home/'grown').write_text(str(size(home) - before))
    return bin_

def size(folder):
    "Bytes of a folder's files, those in `__pycache__` left out"
    files = (f for f in folder.rglob('*') if f.is_file() and not f.is_symlink() and '__pycache__' not in f.parts)
    return sum(f.stat().st_size for f in files)

def test_wheel_is_small_and_whole(wheel):
    assert wheel.stat().st_size < 60e6
    names = zipfile.ZipFile(wheel).namelist()
    for part in ('py.typed', '__init__.pyi', 'weights/default/model.onnx', 'weights/default/model.safetensors',
                 'weights/default/README.md',
                 'train/recipes/', 'evaluate/templates/', 'study/web/study.js', 'io/pictures/', 'results/bench.json',
                 'results/evaluation/photos.json', 'results/recipes/lite/history.csv'):
        assert any(n.startswith(f'colorize_nb/{part}') for n in names), part
    assert not [n for n in names if n.split('/')[0] not in ('colorize_nb',) and '.dist-info' not in n.split('/')[0]]

def test_sdist_is_whole(source, tmp_path):
    "The source archive holds notebooks, Makefile, tools and tests beside the package"
    tools = tmp_path/'tools' # an environment's own may be too old
    done = run(sys.executable, '-m', 'pip', 'install', '--progress-bar', 'off', '--target', tools, 'setuptools>=77')
    assert done.returncode == 0, done.stderr
    code = (f'import sys; sys.path.insert(0, {str(tools)!r}); from setuptools.build_meta import build_sdist; '
            f'print(build_sdist({str(tmp_path)!r}))')
    done = run(sys.executable, '-c', code, cwd=source)
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path/done.stdout.split()[-1]) as tar: names = {n.partition('/')[2] for n in tar.getnames()}
    whole = [f for d in ('nbs', 'tools', 'tests', 'experiments', 'bench') for f in (source/d).rglob('*') if f.is_file()]
    wanted = {f.relative_to(source).as_posix() for f in whole}
    wanted |= {'Makefile', 'settings.ini', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE', '.ci/run',
               'colorize_nb/weights/default/model.onnx'}
    assert len(whole) > 100 and not wanted - names

def test_core_is_lean(core):
    installed = {p['name'].lower()
                 for p in json.loads(run(core/'python', '-m', 'pip', 'list', '--format', 'json').stdout)}
    assert not installed & {'torch', 'torchvision', 'fastai', 'scipy', 'matplotlib', 'pandas', 'scikit-image',
                            'jupyterlab', 'nbdev'}
    assert int((core.parent/'grown').read_text()) < 250e6

def test_core_colours(core, tmp_path):
    done = run(core/'colorize-nb', 'demo', '--out', 'demo', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path/'demo'/'gallery.png').exists(
        ) and json.loads((tmp_path/'demo'/'report.json').read_text())['pictures']
    picture = next(p for p in sorted((tmp_path/'demo').glob('*.png')) if p.stem != 'gallery')
    done = run(core/'colorize-nb', 'colorize', picture, '--out', 'new', '--force', cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path/'new'/picture.name).exists(), done.stderr
    code = f'import colorize_nb; c = colorize_nb.Colorizer.from_pretrained(); print(c({str(picture)!r}).size)'
    assert run(core/'python', '-c', code, cwd=tmp_path).returncode == 0

@pytest.mark.parametrize('command, extra', [
    ('train lite --data x --out y', 'train'), ('evaluate --model default --data x --out y', 'evaluate'),
    ('study serve x', 'study'), ('export default --out x.onnx', 'export')])
def test_missing_wing_is_named(core, tmp_path, command, extra):
    (tmp_path/'x').mkdir()
    done = run(core/'colorize-nb', *command.split(), cwd=tmp_path)
    assert done.returncode in (1, 2) and f'colorize_nb[{extra}]' in done.stderr, done.stderr
    assert 'Traceback' not in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
