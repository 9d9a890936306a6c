"The command line as a program: exit codes, streams, what it imports, and what it leaves when it is interrupted."
import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import warm
from colorize_nb.io.samples import gray_samples, sample, samples
from colorize_nb.train.folder import RunOptions
from colorize_nb.train.recipe import get_recipe

ROOT = Path(__file__).resolve().parent.parent
ENV = {'PYTHONPATH': str(ROOT), 'PYTHONUTF8': '1', 'OMP_NUM_THREADS': '1'}
COMMANDS = ['colorize', 'demo', 'train', 'evaluate', 'recipes', 'models', 'study', 'app']

def command(*args): return [sys.executable, '-m', 'colorize_nb', *map(str, args)]

def call(*args, cwd=None):
    pipes = dict(capture_output=True, text=True, encoding='utf-8')
    return subprocess.run(command(*args), cwd=cwd, env=os.environ | ENV, **pipes)

def call_warm(*args, cwd=None): return warm.run(*args, cwd=cwd, env=os.environ | ENV)

def call_without(blocked, *args, cwd=None):
    "The command in a process that cannot import `blocked`; the last line of its output is the set of what it imported"
    code = f'''import sys
for name in {list(blocked)!r}: sys.modules[name] = None
sys.argv = {['colorize-nb', *map(str, args)]!r}
from colorize_nb.cli.app import main
try: main()
finally: print("\\n" + repr(set(k for k, v in sys.modules.items() if v)))'''
    return subprocess.run([sys.executable, '-c', code], cwd=cwd, env=os.environ | ENV, capture_output=True, text=True)

def one_sentence(done, *parts):
    "Did it fail with exit code 1 and one line that has all `parts`, and nothing else?"
    assert done.returncode == 1 and not done.stdout, done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith('colorize-nb: ') and all(p in lines[0] for p in parts), done.stderr

@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    "A folder with one photograph"
    d = tmp_path_factory.mktemp('old')
    sample('chelsea').convert('L').save(d/'cat.png')
    return d

def test_help_shows_every_command_and_says_nothing_else():
    done = call('--help')
    assert done.returncode == 0 and not done.stderr
    assert all(f'\n  {c} ' in done.stdout for c in COMMANDS)

@pytest.mark.parametrize('name', COMMANDS)
def test_help_of_a_command(name):
    done = call(name, '--help')
    assert done.returncode == 0 and f'Usage: colorize-nb {name}' in done.stdout and not done.stderr

def test_version():
    from importlib.metadata import version
    done = call('--version')
    assert (done.returncode, done.stdout.split()) == (0, ['colorize_nb', version('colorize_nb')])

@pytest.mark.parametrize('args,word', [
    (['colour'], 'colour'),
    (['colorize'], 'INPUT'),
    (['colorize', 'x.png'], '--out'),
    (['colorize', 'x.png', '--out', 'o', '--colour'], '--colour'),
    (['colorize', 'x.png', '--out', 'o', '--format', 'gif'], 'gif'),
    (['colorize', 'x.png', '--out', 'o', '--batch-size', '0'], '--batch-size'),
    (['train', 'lite', '--out', 'o'], '--data'),
    (['train', 'lite', '--data', 'd', '--out', 'o', '--scale', '2'], '--scale'),
    (['train', 'no-such', '--data', 'd', '--out', 'o'], 'no-such'),
    (['train', 'lite', '--data', 'none', '--out', 'o'], 'none'),
    (['train', 'lite', '--data', '.', '--out', 'o', '--model', 'no-such'], "no model 'no-such'"),
    (['colorize', 'x.png', '--out', 'o', '--model', 'no-such'], "no model 'no-such'"),
    (['colorize', 'x.png', '--out', 'o', '--sizes', '8'], 'at least 32'),
    (['colorize', 'x.png', '--out', 'o', '--saturation', '101'], '100'),
    (['colorize', 'x.png', '--out', 'o', '--vivid', '1.5'], 'less than or equal to 1'),
    (['colorize', 'x.png', '--out', ''], 'no name'),
    (['colorize', '.', '--out', '.'], 'never overwritten'),
    (['colorize', 'x.png', 'y.png', '--out', 'o.png'], 'o.png holds one image, and there are 2'),
    (['demo', '--out', 'o', '--model', 'no.safetensors'], 'no.safetensors'),
    (['export', 'no-such', '--out', 'o.onnx'], "no model 'no-such'"),
    (['export', 'default', '--out', 'o.txt'], '.onnx'),
    (['evaluate', '--data', 'none', '--out', 'o', '--model', 'default'], 'none'),
    (['evaluate', '--data', 'sample', '--out', 'o', '--pred', 'none'], 'none'),
    (['study', 'make', 'o', '--model', 'no-such'], "no model 'no-such'"),
    (['study', 'report', 'o'], 'study make'),
])
def test_wrong_usage_is_2(args, word, tmp_path):
    done = call_warm(*args, cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout, done.stderr
    assert word in done.stderr and 'Traceback' not in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []

def test_what_is_missing_is_named(model, photo, tmp_path):
    done = call_warm('colorize', tmp_path/'gone.jpg', '--out', tmp_path/'new', '--model', model)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert 'gone.jpg' in done.stderr and '1 failed' in done.stdout
    (tmp_path/'file').touch()
    done = call_warm('colorize', photo, '--out', tmp_path/'file'/'new', '--model', model)
    assert done.returncode == 1 and 'name another folder' in done.stderr
    done = call_warm('colorize', 'http://127.0.0.1/x.png', '--out', tmp_path/'new', '--model', model)
    assert done.returncode == 1 and '--allow-private' in done.stderr

def test_one_result_by_its_name(model, photo, tmp_path):
    args = 'colorize', photo, '--model', model, '--out', tmp_path/'new'/'portrait.tif'
    done = call_warm(*args, '--compare')
    assert done.returncode == 0, done.stderr
    assert sorted(o.name for o in (tmp_path/'new').iterdir()) == ['portrait.tif', 'portrait_compare.tif']
    with Image.open(tmp_path/'new'/'portrait.tif') as im: assert im.format == 'TIFF'
    assert '1 skipped' in call_warm(*args).stdout # what is there is not made again
    (tmp_path/'folder.png').mkdir() # stays a folder
    assert call_warm('colorize', photo, '--model', model, '--out', tmp_path/'folder.png').returncode == 0
    assert [o.stem for o in (tmp_path/'folder.png').iterdir()] == ['cat']

def test_debug_shows_where(photo, tmp_path):
    done = call('colorize', photo, '--out', tmp_path/'new', '--model', 'no-such', '--debug')
    assert done.returncode == 1 and 'Traceback' in done.stderr and 'find_model' in done.stderr

@pytest.mark.parametrize('args,missing,extra', [
    (['train', 'lite', '--data', '.', '--out', 'run'], 'fastai', 'train'),
    (['train', 'lite', '--data', '.', '--out', 'run'], 'torch', 'train'),
    (['evaluate', '--model', 'MODEL', '--data', 'sample', '--out', 'judged'], 'torch', 'evaluate'),
    (['export', 'MODEL', '--out', 'model.onnx'], 'torch', 'export'),
    (['study', 'serve', 'study'], 'fasthtml', 'study'),
    (['study', 'serve', 'study'], 'uvicorn', 'study'),
    (['app', '--no-browser'], 'starlette', 'app'),
])
def test_a_missing_package_names_its_extra(args, missing, extra, model, photo, tmp_path):
    args = [{'PHOTO': str(photo), 'MODEL': str(model)}.get(a, a) for a in args]
    done = call_without([missing], *args, cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 1 and 'Traceback' not in done.stderr, done.stderr
    assert missing in lines[0] and f'"colorize_nb[{extra}]"' in lines[0], done.stderr

def test_a_torch_model_without_torch(model, photo, tmp_path):
    done = call_without(['torch'], 'colorize', photo, '--out', tmp_path/'new', '--model', model)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert 'model.safetensors needs torch' in done.stderr

def test_tables_for_programs():
    from colorize_nb.models.registry import list_models
    done, packaged = call('models', '--json'), list_models()
    rows = [{k: r[k] for k in packaged[0]} for r in json.loads(done.stdout)] # with the keys that they always had
    assert (done.returncode, rows[:len(packaged)], done.stderr) == (0, packaged, '')
    done = call('recipes', '--json')
    rows = json.loads(done.stdout)
    assert done.returncode == 0 and not done.stderr
    assert {'unet-gan-pretrained', 'lite'} <= {r['name'] for r in rows}
    assert all(p['epochs'] > 0 for r in rows for p in r['phases'])

@pytest.mark.parametrize('columns', [60, 80])
@pytest.mark.parametrize('listing, figures, texts', [
    ('models', ['size', 'speed'], ['description', 'licence']), ('recipes', ['size'], ['title'])])
def test_tables_fit_a_terminal(listing, figures, texts, columns, monkeypatch):
    "No line is longer, a row keeps its figures on one line, and nothing that a program gets is missing"
    monkeypatch.setenv('COLUMNS', str(columns))
    lines, rows = call(listing).stdout.splitlines(), json.loads(call(listing, '--json').stdout)
    assert max(map(len, lines)) <= columns
    whole = ' '.join(' '.join(lines).split())
    for r in rows:
        row, = [o.split() for o in lines if o.split()[0] == r['name'] and not o.startswith(' ')]
        assert all(str(r[k]) in row for k in figures) and all(r[k] in whole for k in texts), r['name']
    assert len(lines) <= 4*len(rows) # a row, and its texts on three lines at most

@pytest.mark.slow
def test_demo(model, tmp_path):
    done = call('demo', '--out', tmp_path/'demo', '--model', model)
    assert done.returncode == 0 and not done.stderr, done.stderr
    report = json.loads((tmp_path/'demo'/'report.json').read_text())
    assert set(report['pictures']) == {*samples(), *gray_samples()} and report['versions']['torch']
    for name, row in report['pictures'].items():
        assert Image.open(tmp_path/'demo'/f'{name}.png').size == tuple(row['size'])
        assert ('psnr' in row) == ('psnr_gray' in row) == ('colorfulness_true' in row) == (name in samples())
    assert min(Image.open(tmp_path/'demo'/'gallery.png').size) > 500
    assert f"{report['mean']['psnr_gain']:+.2f} dB" in done.stdout

def test_the_packaged_model_shows_colours(tmp_path):
    from colorize_nb.models.registry import list_models
    if not any(m['name'] == 'default' for m in list_models()): pytest.skip('no packaged model yet')
    done = call('demo', '--out', tmp_path/'demo')
    mean = json.loads((tmp_path/'demo'/'report.json').read_text())['mean']
    assert done.returncode == 0 and mean['colorfulness'] > mean['colorfulness_true']/4

HEAVY = {'torch', 'fastai', 'timm', 'skimage', 'matplotlib', 'pandas', 'scipy'}

@pytest.mark.parametrize('args,banned', [
    (['--help'], HEAVY | {'PIL', 'numpy', 'rich.progress'}),
    (['colorize', '--help'], HEAVY | {'PIL', 'numpy'}),
    (['colorize', 'x', '--colour'], HEAVY),
    (['models'], HEAVY),
    (['recipes'], HEAVY),
    (['train', 'no-such', '--data', 'd', '--out', 'o'], HEAVY),
    (['train', 'lite', '--data', 'gone', '--out', 'o'], HEAVY),
    (['train', 'lite', '--data', '.', '--out', 'o', '--scale', '0'], HEAVY),
    (['train', 'lite', '--data', '.', '--out', 'o', '--model', 'no-such'], HEAVY),
    (['train', 'lite', '--data', '.', '--out', 'RUN'], HEAVY),
    (['train', 'lite', '--data', '.', '--out', 'RUN', '--resume', '--seed', '1'], HEAVY),
    (['colorize', 'PHOTO', '--out', 'new', '--model', 'MODEL'], (HEAVY | {'sklearn'}) - {'torch'}),
])
def test_imports_wait(args, banned, model, photo, tmp_path):
    args = [{'PHOTO': str(photo), 'MODEL': str(model), 'RUN': 'run'}.get(a, a) for a in args]
    if 'run' in args: # a training that was stopped there
        (tmp_path/'run').mkdir()
        (tmp_path/'run'/'checkpoint.pt').touch()
        settings = RunOptions().settings(get_recipe('lite'), '.')
        (tmp_path/'run'/'settings.json').write_text(json.dumps(settings))
    done = call_without([], *args, cwd=tmp_path)
    assert not banned & ast.literal_eval(done.stdout.splitlines()[-1])

def test_nothing_is_kept_to_be_sent(photo, tmp_path):
    "ONNX Runtime 1.32 opens a data base of what it tells its maker, below the home folder"
    home = {k: str(tmp_path/'home') for k in ('HOME', 'XDG_CACHE_HOME', 'USERPROFILE', 'LOCALAPPDATA')}
    env = {k: v for k, v in os.environ.items() if k != 'ORT_DISABLE_TELEMETRY'} | ENV | home
    (tmp_path/'home').mkdir()
    code = ("import sys; from PIL import Image; from colorize_nb.colorizer.core import Colorizer; "
            "Colorizer.from_pretrained('default')(Image.open(sys.argv[1])); assert 'onnxruntime' in sys.modules")
    subprocess.run([sys.executable, '-c', code, next(photo.glob('*.*'))], cwd=tmp_path, env=env, check=True)
    assert not list((tmp_path/'home').iterdir())

@pytest.mark.slow
@pytest.mark.skipif(os.name != 'posix', reason='sends a POSIX signal')
def test_ctrl_c_says_what_is_left(model, tmp_path):
    (tmp_path/'old').mkdir()
    im = sample('motorcycle').convert('L').resize((1500, 1000))
    for i in range(12): im.save(tmp_path/'old'/f'{i:02}.png')
    args = ['colorize', 'old', '--out', 'new', '--model', model, '--batch-size', 1]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run = subprocess.Popen(command(*args), cwd=tmp_path, env=os.environ | ENV, **pipes)
    while run.poll() is None and not (tmp_path/'new'/'00.png').exists(): time.sleep(.02)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 130, out + err
    assert 'interrupted' in err and 'start it again' in err and 'Traceback' not in err, out + err
    before = {f.name: f.stat().st_mtime_ns for f in (tmp_path/'new').iterdir()}
    assert 0 < len(before) < 12 and not [f for f in before if f.startswith('.')]
    done = call(*args, cwd=tmp_path)
    after = {f.name: f.stat().st_mtime_ns for f in (tmp_path/'new').iterdir()}
    assert done.returncode == 0 and len(after) == 12 and before.items() <= after.items()
    assert f'{12 - len(before)} done, {len(before)} skipped' in done.stdout
