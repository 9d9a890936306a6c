"""Every notebook runs alone: copied into an empty folder, with the package as the wheel has it, all cells in order as
Jupyter runs them, without a network."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))
from package_results import copy_results

NBS = ROOT/'nbs'
ALL = sorted(p.relative_to(NBS).as_posix() for p in NBS.rglob('*.ipynb')
             if not any(o[0] in '._' for o in p.relative_to(NBS).parts))
# two tutorials and two pages of recipes that take seconds
QUICK = ['tutorials/01_your_own_photographs.ipynb', 'tutorials/07_old_plates.ipynb', 'recipes/pix2pix.ipynb',
         'recipes/nogan.ipynb']

@pytest.fixture(scope='session')
def package(tmp_path_factory):
    "A folder with the package as it is in the wheel: with the stored tables, without the repository around it"
    site = tmp_path_factory.mktemp('site')
    shutil.copytree(ROOT/'colorize_nb', site/'colorize_nb', ignore=shutil.ignore_patterns('__pycache__'))
    copy_results(ROOT, site/'colorize_nb'/'results') # as setup.py does
    return site

@pytest.fixture(scope='session')
def fetched(tmp_path_factory):
    "A folder of downloads in which the pictures of stored runs are, as if they had been fetched before"
    home = tmp_path_factory.mktemp('fetched')
    for source, name in (NBS/'recipes'/'results', 'recipes'), (NBS/'results', ''):
        for f in source.rglob('*.jpg'):
            kept = home/'results'/name/f.relative_to(source)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(f, kept)
    return home

def prepared(path):
    """The notebook at `path` and whether it asks the net. Cells flagged slow, which `make test-all` runs where they
    stand, are left out; all other flags mean nothing to Jupyter"""
    nb = json.loads(path.read_text(encoding='utf-8'))
    flags = [re.findall(r'^#\|\s*(slow|network)\b', ''.join(c['source']), re.M) for c in nb['cells']]
    nb['cells'] = [c for c, f in zip(nb['cells'], flags) if 'slow' not in f]
    return nb, any('network' in f for f in flags)

def run_alone(name, folder, package, fetched):
    "Run the notebook in a folder that has nothing else in it"
    nb, asks = prepared(NBS/name)
    (folder/'page.ipynb').write_text(json.dumps(nb), encoding='utf-8')
    env = os.environ | dict(PYTHONPATH=str(package), COLORIZE_NB_DATA=str(fetched), PYTHONUTF8='1', HF_HUB_OFFLINE='1')
    if asks: env |= dict.fromkeys(('http_proxy', 'https_proxy'), 'http://127.0.0.1:9') # nobody answers there
    done = subprocess.run([sys.executable, '-m', 'nbconvert', '--to', 'notebook', '--execute', 'page.ipynb', '--output',
                           'done.ipynb'], cwd=folder, env=env, capture_output=True, text=True, encoding='utf-8')
    assert done.returncode == 0, done.stderr[-4000:]

@pytest.mark.parametrize('name', QUICK)
def test_notebook_runs_in_an_empty_folder(name, tmp_path, package, fetched):
    run_alone(name, tmp_path, package, fetched)

@pytest.mark.slow
@pytest.mark.parametrize('name', [n for n in ALL if n not in [*QUICK, 'index.ipynb']]) # the index only shows
def test_every_notebook_runs_in_an_empty_folder(name, tmp_path, package, fetched):
    run_alone(name, tmp_path, package, fetched)

def test_no_notebook_exports_itself():
    "`nbdev_export` fails outside of a checkout"
    assert not [n for n in ALL if 'nbdev_export()' in (NBS/n).read_text(encoding='utf-8')]

def test_package_holds_the_tables(package):
    "The wheel has every table of the repository's stored runs, and in less than 0.8 MB"
    source = {f'recipes/{p.relative_to(NBS/"recipes"/"results").as_posix()}'
              for p in (NBS/'recipes'/'results').rglob('*') if p.suffix in ('.json', '.csv')}
    source |= {p.relative_to(NBS/'results').as_posix() for p in (NBS/'results').rglob('*')
               if p.suffix in ('.json', '.csv')}
    results = package/'colorize_nb'/'results'
    assert {p.relative_to(results).as_posix() for p in results.rglob('*') if p.is_file()} == source | {'bench.json'}
    packed = shutil.make_archive(str(package/'packed'), 'zip', results)
    assert Path(packed).stat().st_size < 800_000

def test_table_is_found_without_the_repository(package, tmp_path):
    code = ("from colorize_nb.io.results import stored_path\n"
            "print(stored_path('recipes/lite/history.csv'), stored_path('bench.json'))")
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=os.environ | dict(PYTHONPATH=str(package)),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = package/'colorize_nb'/'results'
    assert done.stdout.split() == [str(results/'recipes'/'lite'/'history.csv'), str(results/'bench.json')]
