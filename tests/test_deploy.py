"What `deploy/` says: the hosted page and its limits, the double-click program, and what the container is built from."
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT/'deploy'
ENV = {'PYTHONPATH': str(ROOT), 'PYTHONUTF8': '1', 'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'}
if not DEPLOY.is_dir(): pytest.skip('no deploy/ here: it comes with the repository', allow_module_level=True)

def load(path):
    "A script as a module"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def test_hosted_page_takes_its_settings_from_the_environment():
    settings = load(DEPLOY/'space'/'app.py').settings
    plain = settings({})
    assert (plain['host'], plain['port']) == ('0.0.0.0', 7860) # where a Space looks
    assert len(plain['token']) >= 16 and plain['token'] != settings({})['token'] # never without one
    own = settings({'COLORIZE_NB_APP_TOKEN': 'correct horse battery', 'PORT': '80', 'COLORIZE_NB_MEGAPIXELS': '5'})
    assert (own['token'], own['port'], own['limits'].pixels) == ('correct horse battery', 80, 5_000_000)
    head = (DEPLOY/'space'/'README.md').read_text(encoding='utf-8').split('---')[1]
    assert 'sdk: docker' in head and 'app_port: 7860' in head

def test_container_runs_as_nobody_and_needs_no_net():
    for path in DEPLOY/'Dockerfile', DEPLOY/'space'/'Dockerfile':
        lines = path.read_text(encoding='utf-8').replace('\\\n', ' ').splitlines()
        user = [o.split()[1] for o in lines if o.startswith('USER ')][-1]
        assert int(user.split(':')[0]) > 0, path
        assert not any(re.search(r'\b(curl|wget|ADD https?:)', o) for o in lines), path
    wanted = [o[1:] for o in (DEPLOY/'Dockerfile.dockerignore').read_text().splitlines() if o.startswith('!')]
    assert all((ROOT/o).exists() for o in wanted), wanted
    built_from = {m[1] for m in re.finditer(r"here/'([\w.]+)'", (ROOT/'setup.py').read_text(encoding='utf-8'))}
    assert built_from and all(any(Path(o).parts[0] == name for o in wanted) for name in built_from)

def test_program_has_what_it_names():
    spec = (DEPLOY/'program.spec').read_text(encoding='utf-8')
    rooms = re.findall(r"'(\w+)'", re.search(r'rooms = \[(.+?)\]', spec)[1])
    assert set(rooms) >= {'app', 'cli', 'io'} and all((ROOT/'colorize_nb'/r).is_dir() for r in rooms)
    assert (DEPLOY/'program.py').is_file() and "['program.py']" in spec

def test_program_has_what_is_imported_by_a_name_in_a_string():
    "PyInstaller does not see `import_module('onnxruntime')`: of the core and the page, all such packages are named"
    import configparser
    spec = (DEPLOY/'program.spec').read_text(encoding='utf-8')
    settings = configparser.ConfigParser()
    settings.read(ROOT/'settings.ini', encoding='utf-8')
    wanted = ' '.join(settings['DEFAULT'][k] for k in ('requirements', 'app_requirements'))
    packages = {o.lower().replace('-', '_') for o in re.findall(r'^([\w-]+)', wanted.replace(' ', '\n'), re.M)}
    found = set()
    for room in re.findall(r"'(\w+)'", re.search(r'rooms = \[(.+?)\]', spec)[1]):
        for file in (ROOT/'colorize_nb'/room).glob('*.py'):
            text = file.read_text(encoding='utf-8')
            found |= set(re.findall(r"(?:import_module|require)\('(\w+)'", text)) & packages
    assert 'onnxruntime' in found
    assert not [o for o in found if f"'{o}'" not in spec]

@pytest.mark.skipif(os.name != 'posix', reason='a shell script stands for the program')
def test_program_opens_the_page_and_colours(tmp_path):
    "The script behind the program, tried as the built one is"
    program = tmp_path/'colorize-nb'
    command = f'PYTHONPATH={ROOT} exec {sys.executable} {DEPLOY/"program.py"} "$@"' # which the built one does not need
    program.write_text(f'#!/bin/sh\n{command}\n')
    program.chmod(0o755)
    cmd = [sys.executable, DEPLOY/'try_program.py', program]
    done = subprocess.run(cmd, env=os.environ | ENV, capture_output=True, text=True)
    assert done.returncode == 0 and 'page and API work' in done.stdout, done.stdout + done.stderr
    assert 'default' in done.stdout

def test_program_without_arguments_opens_the_page(monkeypatch):
    "What a double click does: the page, at any free port"
    import colorize_nb.cli.app as cli
    called = []
    monkeypatch.setattr(cli, 'main', lambda: called.append(sys.argv[1:]))
    program = load(DEPLOY/'program.py')
    for args in [], ['colorize', 'a.jpg']:
        monkeypatch.setattr(sys, 'argv', ['colorize-nb', *args])
        program.main()
    assert called == [['app', '--port', '0'], ['colorize', 'a.jpg']]
