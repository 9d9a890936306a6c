"""What holds for the whole house: notebooks and modules in step, arrows, lines, sizes, docstrings, light imports, the
docs."""
import ast
import filecmp
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from configparser import ConfigParser
from functools import cache
from pathlib import Path

import pytest

import warm

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sysconfig.get_path('scripts')) # where nbdev's commands are
sys.path.insert(0, str(ROOT/'tools'))
from heads import MORE, imports, install, with_head
from make_readme import readme

def notebooks(nbs):
    "The notebooks below `nbs` that nbdev reads"
    return sorted(p for p in nbs.rglob('*.ipynb') if not any(o[0] in '._' for o in p.relative_to(nbs).parts))

def sources(nb):
    "The code cells' sources of the notebook at path `nb`"
    return [''.join(c['source']) for c in json.loads(nb.read_text(encoding='utf-8'))['cells']
            if c['cell_type'] == 'code']

def module(nb):
    "The module that `nb` is exported to, or None"
    found = (re.search(r'^#\|\s*default_exp:?\s+(\S+)', s, re.M) for s in sources(nb))
    return next((m[1] for m in found if m), None)

NOTEBOOKS = notebooks(ROOT/'nbs')
MODULES = {m: nb for nb in NOTEBOOKS if (m := module(nb))}

def name(nb): return nb.relative_to(ROOT/'nbs').as_posix()
def path_of(mod): return ROOT/'colorize_nb'/f"{mod.replace('.', '/')}.py"
@cache
def tree_of(mod): return ast.parse(path_of(mod).read_text(encoding='utf-8'))
def run(*cmd, cwd=ROOT):
    return subprocess.run([str(c) for c in cmd], cwd=cwd, capture_output=True, text=True, encoding='utf-8')
def python(code): return run(sys.executable, '-c', code)

@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    "A copy of notebooks and package, exported and cleaned anew"
    tmp = tmp_path_factory.mktemp('exported')
    for d in ('nbs', 'colorize_nb'):
        skip = shutil.ignore_patterns('__pycache__', '*.safetensors', '*.onnx', '.ipynb_checkpoints')
        shutil.copytree(ROOT/d, tmp/d, symlinks=True, ignore=skip)
    shutil.copy(ROOT/'pyproject.toml', tmp)
    for mod in MODULES: (tmp/'colorize_nb'/f"{mod.replace('.', '/')}.py").unlink()
    (tmp/'colorize_nb'/'_modidx.py').unlink()
    for cmd in ('nbdev-export', 'nbdev-clean'):
        done = run(BIN/cmd, cwd=tmp)
        assert done.returncode == 0, done.stdout + done.stderr
    return tmp

def test_notebooks_and_modules_are_in_step(exported):
    files = [*(p.relative_to(ROOT) for p in NOTEBOOKS), Path('colorize_nb/_modidx.py'),
             *(path_of(m).relative_to(ROOT) for m in MODULES)]
    differ = [p.as_posix() for p in files if not filecmp.cmp(ROOT/p, exported/p, shallow=False)]
    assert not differ, 'run `make export` and look at the difference'

def test_step_is_noticed(exported, tmp_path):
    "The comparison above finds a module that was edited by hand"
    new, edited = exported/'colorize_nb'/'color'/'lab.py', tmp_path/'lab.py'
    edited.write_text(new.read_text(encoding='utf-8') + '\n', encoding='utf-8')
    assert not filecmp.cmp(edited, new, shallow=False)

def test_readme_is_in_step():
    assert (ROOT/'README.md').read_text(encoding='utf-8') == readme(ROOT/'nbs'/'index.ipynb')

def test_rooms_import_downwards():
    done = run(BIN/'lint-imports')
    assert done.returncode == 0 and '0 broken' in done.stdout, done.stdout + done.stderr

def test_scripts_lines_and_unused_names():
    done = run(BIN/'ruff', 'check')
    assert done.returncode == 0, done.stdout

@pytest.mark.parametrize('nb', NOTEBOOKS, ids=name)
def test_lines_are_short(nb):
    assert not [o for s in sources(nb) for o in s.splitlines() if len(o) > 120]

def cells(nb): return json.loads(nb.read_text(encoding='utf-8'))['cells']

@pytest.mark.parametrize('nb', NOTEBOOKS, ids=name)
def test_head_opens_and_installs_on_colab(nb):
    "`make export` writes the heads"
    whole = json.loads(nb.read_text(encoding='utf-8'))
    assert with_head(whole, name(nb)) == whole, 'run python tools/heads.py'

def test_head_installs_what_is_imported():
    "What a notebook imports comes with Python, with `colorize_nb[all]` or what that requires, or is named in the head"
    settings = ConfigParser(delimiters=['='])
    settings.read(ROOT/'settings.ini', encoding='utf-8')
    cfg = settings['DEFAULT']
    wanted = ' '.join([cfg['requirements'], *(cfg[f'{e}_requirements'] for e in cfg['all_extras'].split())]).split()
    known = {re.match('[A-Za-z0-9_-]+', o)[0].lower().replace('-', '_') for o in wanted}
    others = dict(PIL='pillow', skimage='scikit_image', sklearn='scikit_learn', yaml='pyyaml',
                  cv2='opencv_python_headless', # called otherwise
                  fastcore='fastai', fastdownload='fastai', fsspec='torch', # what others of these require
                  fasthtml='python_fasthtml', starlette='python_fasthtml', uvicorn='python_fasthtml')
    known |= {m for m, d in others.items() if d in known}
    known |= {'IPython', 'matplotlib_inline'} # Jupyter's own
    known |= set(sys.stdlib_module_names)
    for nb in NOTEBOOKS:
        whole = json.loads(nb.read_text(encoding='utf-8'))
        named = {m for m, d in MORE.items() if d in install(whole).split('"')[-1].split()}
        assert not imports(whole) - known - named - {'colorize_nb'}, name(nb)

# a path that only a checkout has: `../results/x.csv`, `Path('results')`, `nbs/recipes/results`
OUTSIDE = re.compile(r"""['"](?:\.\./)+(?:results|recipes|bench|shared|nbs|tests|images|experiments|colorize_nb)\b"""
                     r"""|(?:Path|open|read_csv|imread|load_evaluation)\(f?['"](?:\.\./|results\b|nbs/|bench/)""")

@pytest.mark.parametrize('nb', [nb for nb in NOTEBOOKS if name(nb) != 'index.ipynb'], ids=name)
def test_cells_run_outside_the_repository(nb):
    "What a page shows of stored runs comes by `stored_path`; what needs a GPU or the net asks for it in Python"
    for src in sources(nb):
        assert not OUTSIDE.search(src), src
        flags = re.findall(r'^#\|\s*(cuda|network|eval:\s*false)', src, re.M)
        if 'cuda' in flags: assert 'torch.cuda.is_available()' in src, src
        if 'network' in flags: assert "if os.environ.get('COLORIZE_NB_NETWORK'):" in src, src # downloads are large
        # Jupyter runs it all the same: write a fenced block
        assert not [f for f in flags if f.startswith('eval')], src

def test_paths_of_a_checkout_are_seen():
    bad = ["Path('../results/vae.json')", "pd.read_csv('../results/trials.csv')", "here = Path('results')",
           "Path('../../shared/data')", "f'../recipes/results/{run}/history.csv'", "open('nbs/results/x.json')"]
    assert all(map(OUTSIDE.search, bad))
    good = ["stored_path('recipes/lite')", "refused('x', plain({}, file='../secret'))", "'/picture/../study.json'",
            "Path('study/report')", "(tmp/'results').mkdir()", "'celeba:sets/faces', '../data'"]
    assert not any(map(OUTSIDE.search, good))

@pytest.mark.parametrize('nb', NOTEBOOKS, ids=name)
def test_pictures_have_an_alternative_text(nb):
    for c in cells(nb):
        if c['cell_type'] != 'markdown': continue
        src = ''.join(c['source'])
        assert not re.search(r'!\[\s*\]\(', src), src
        for img in re.findall(r'<img\b[^>]*>', src): assert re.search(r'\balt="[^"]+"', img), img

def draws(src):
    "Whether a cell makes a figure of matplotlib and shows it"
    tree = ast.parse(re.sub(r'^[!%].*$', 'pass', src, flags=re.M))
    made = [n for o in tree.body if not isinstance(o, (ast.FunctionDef, ast.ClassDef)) for n in ast.walk(o)]
    called = {ast.unparse(n.func) for n in made if isinstance(n, ast.Call)}
    return 'savefig' not in src and bool(called & {'plt.subplots', 'plt.figure'})

@pytest.mark.parametrize('nb', NOTEBOOKS, ids=name)
def test_figures_are_stored(nb):
    "A page that was executed without a display has its text and no pictures"
    hidden = re.compile(r'^#\|\s*(hide|eval: false|exports?|slow|cuda|network)\b', re.M)
    for c in cells(nb):
        src = ''.join(c['source'])
        if c['cell_type'] != 'code' or hidden.search(src) or not draws(src): continue
        assert any(k.startswith('image/') for o in c['outputs'] for k in o.get('data', {})), src[:80]

@pytest.mark.parametrize('nb', NOTEBOOKS, ids=name)
def test_prose_names_no_private_function(nb):
    "The site would make a link of it that leads nowhere"
    prose = [''.join(c['source']) for c in cells(nb) if c['cell_type'] == 'markdown']
    assert not [m[0] for src in prose for m in re.finditer(r'`_(?!_)\w+`', src)]

def test_no_link_is_made_inside_a_link():
    "nbdev makes a link of every name of ours in backquotes, in a link's text too, and then the site shows brackets"
    from nbdev.doclinks import NbdevLookup
    look = NbdevLookup()
    def ours(text): return [m[1] for m in re.finditer(r'`([^`\s]+?)(?:\(\))?`', text) if look.doc(m[1])]
    assert ours('the `colorize_files` of `nobody`') == ['colorize_files']
    links = [(name(nb), m[1]) for nb in NOTEBOOKS for c in cells(nb) if c['cell_type'] == 'markdown'
             for m in re.finditer(r'\[([^\[\]]*)\]\(', ''.join(c['source']))]
    assert not [(n, text) for n, text in links if ours(text)]

@pytest.mark.parametrize('mod', MODULES)
def test_no_private_name_crosses_modules(mod):
    tree = tree_of(mod)
    ours = [o for o in ast.walk(tree) if isinstance(o, ast.ImportFrom)
            and (o.level or (o.module or '').startswith('colorize_nb'))]
    own = mod.split('.')[-1] # a module may import itself, where a new process needs it by name
    private = [a.name for o in ours if (o.module or '').split('.')[-1] != own for a in o.names]
    assert not [n for n in private if n.startswith('_') and not n.startswith('__')]

@pytest.mark.parametrize('mod', MODULES)
def test_public_names_have_docstrings(mod):
    tree = tree_of(mod)
    public = next(ast.literal_eval(o.value)
                  for o in tree.body if isinstance(o, ast.Assign) and o.targets[0].id == '__all__')
    made = [o for o in tree.body if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and o.name in public]
    methods = [f for o in made if isinstance(o, ast.ClassDef) for f in o.body
               if isinstance(f, ast.FunctionDef) and not f.name.startswith('_') and not f.decorator_list]
    assert not [o.name for o in [*made, *methods] if not ast.get_docstring(o)]
    assert not {'page', 'number', 'held', 'draw', 'say', 'sentence'} & set(public)

@pytest.mark.parametrize('nb', NOTEBOOKS, ids=name)
def test_notebook_is_small(nb):
    assert nb.stat().st_size <= 300*1024

DUMPS = { # what a reader of a page should not meet: name -> what it looks like
    "a converter's header": r"jupytext|\A\s*(# )?---\n(# .*\n)*#?\s*jupyter:", # in sources; all others in outputs
    'a raw row of a log': r"^\[\d+, .*'\d+:\d\d'\]\s*$", # as fastai's learner prints an epoch
    'a progress bar': r'\d+%\||\b(it/s|s/it)\]|<progress\b|[█▌▊━╸]|\d\d:\d\d<(\d\d:\d\d|\?)|\r(?!\n)',
    'a style sheet': r'</?style\b|(^|[}\s])[.#]?[a-z][\w-]*\s*\{\s*[a-z-]+\s*:\s*[^;{}]+;',
    "a terminal's code": r'\x1b\['}

def dumps(nb):
    "What of `DUMPS` a notebook, as read from JSON, shows: (cell, name, text)"
    header, *rest = DUMPS
    def join(o): return ''.join(o) if isinstance(o, (str, list)) else ''
    for i, c in enumerate(nb['cells']):
        said = [(header, join(c['source']))]
        for o in c.get('outputs', []):
            data = o.get('data', {})
            texts = [join(o.get('text')), *o.get('traceback', []), join(data.get('text/plain'))]
            rich = join(data.get('text/html')) + join(data.get('text/markdown'))
            # a style sheet in its element is not seen, and neither is what stands in tags, but for a bar
            seen = re.sub(r'<(style|script)\b.*?</\1>|<(?!progress)[^>]*>', '', rich, flags=re.S)
            said += [(n, t) for n in rest for t in [*texts, seen]]
        for n, text in said:
            if found := re.search(DUMPS[n], text, re.M): yield i, n, found[0][:60]
    if 'jupytext' in nb.get('metadata', {}): yield None, header, 'metadata'

@pytest.mark.parametrize('nb', NOTEBOOKS, ids=name)
def test_pages_show_no_dumps(nb):
    found = list(dumps(json.loads(nb.read_text(encoding='utf-8'))))
    assert not found, 'train within `learn.no_logging()` and `learn.no_bar()`; show a style, do not print it'

@pytest.mark.parametrize('source, output, kind', [
    ('# ---\n# jupyter:\n#   jupytext:\n#     text_representation:', {}, "a converter's header"),
    ('fit()', dict(text=["[0, 13.151212692260742, 20.0, '00:00']\n"]), 'a raw row of a log'),
    ('fit()', dict(text=' 48%|████▊     | 12/25 [00:03<00:03, 3.9it/s]'), 'a progress bar'),
    ('fit()', dict(data={'text/html': '<div><progress value="1" max="2"></progress></div>'}), 'a progress bar'),
    ('fit()', dict(text='one\rtwo'), 'a progress bar'),
    ('page()', dict(data={'text/plain': "'<style>.a { color: red; }</style>'"}), 'a style sheet'),
    ('css', dict(text='figure {margin:0 0 1em;max-width:100%;}'), 'a style sheet'),
    ('cli()', dict(text='\x1b[31mno\x1b[0m'), "a terminal's code")])
def test_dumps_are_found(source, output, kind):
    "Each kind, as the programs named print it"
    cell = dict(cell_type='code', source=source, outputs=[dict(output_type='stream', **output)])
    assert kind in {n for _, n, _ in dumps(dict(cells=[cell]))}

@pytest.mark.parametrize('output', [
    dict(text='epoch 1: training 0.0855, validation 0.0884\n'), dict(text="{'a': 1, 'b': [0, 1.5]}"),
    dict(data={'text/html': '<style scoped>th { top: 0; }</style><table><tr><td>2</td></tr></table>',
               'text/plain': '   a\n0  2'}),
    dict(text='function until(limit) {\n  return new Promise(done => { over = true; })\n}')])
def test_what_is_no_dump_may_stay(output):
    "A table's own style, a line of a log in words, a script that a page explains"
    assert not list(dumps(dict(cells=[dict(cell_type='code', source='x', outputs=[dict(**output)])])))

def test_index_lists_every_notebook_of_the_rooms():
    cells = json.loads((ROOT/'nbs/index.ipynb').read_text(encoding='utf-8'))['cells']
    table = next(''.join(c['source']) for c in cells if c['id'] == 'rooms')
    rows = dict(re.findall(r'^\| `(\w+)` .*\| (.*) \|$', table, re.M))
    found = {}
    for f in sorted(ROOT.glob('nbs/*/[0-9][0-9]_*.ipynb')): found.setdefault(f.parent.name, []).append(f.name)
    del found['tutorials'] # which have a page of their own
    assert {room: re.findall(rf'\({room}/([^)]+)\)', text) for room, text in rows.items()} == found


@pytest.mark.parametrize('mod', MODULES)
def test_module_has_one_subject(mod):
    assert len(path_of(mod).read_text(encoding='utf-8').splitlines()) <= 600

def test_version():
    import colorize_nb
    settings = ConfigParser(delimiters=['='])
    settings.read(ROOT/'settings.ini', encoding='utf-8')
    assert colorize_nb.__version__ == settings['DEFAULT']['version']

LIGHT = ['color.srgb', 'color.icc', 'io.metadata', 'io.download', 'io.read', 'io.write', 'io.files', 'io.samples',
         'io.plates', 'io.tiff', 'io.png', 'io.results',
         'models.registry', 'models.catalog', 'colorizer.upsample', 'colorizer.blend', 'colorizer.foreign',
         'colorizer.engines', 'colorizer.core', 'colorizer.compare', 'colorizer.plan', 'colorizer.batch',
         'colorizer.luma', 'colorizer.steady', 'colorizer.film', 'colorizer.encode', 'colorizer.video',
         'colorizer.processes', 'evaluate.demo', 'train.folder', 'train.recipe', 'cli.app']
# none of these on the way from file to file
CORE = ['torch', 'fastai', 'skimage', 'sklearn', 'scipy', 'matplotlib', 'pandas', 'timm', 'torchmetrics', 'av',
        'cv2']

def test_colouring_needs_the_core_only():
    imports = ''.join(f'import colorize_nb.{m}\n' for m in LIGHT)
    done = python(f'import sys\nfor o in {CORE}: sys.modules[o] = None\n{imports}import colorize_nb; '
                  f'colorize_nb.Colorizer; colorize_nb.list_models()')
    assert done.returncode == 0, done.stderr

def test_colouring_with_torch_needs_no_fastai():
    done = python('import sys, colorize_nb.models.lite, colorize_nb.color.lab\nassert "fastai" not in sys.modules and '
                  '"timm" not in sys.modules')
    assert done.returncode == 0, done.stderr

def test_front_door_opens():
    done = python('import colorize_nb as c, warnings\nfor n in c.__all__: assert getattr(c, n).__doc__, '
                  'n\nprint(len(c.__all__))')
    assert done.returncode == 0, done.stderr
    assert 12 <= int(done.stdout) <= 20

@pytest.mark.parametrize('name, extra', [('TensorL', 'train'), ('rgb2lab', 'torch'), ('run_evaluation', 'evaluate'),
                                         ('serve_study', 'study')])
def test_front_door_names_the_extra(name, extra):
    done = python(f"import sys\nfor o in {CORE + ['fastcore', 'fasthtml']}: sys.modules[o] = None\n"
                  f"from colorize_nb import {name}")
    assert f'pip install "colorize_nb[{extra}]"' in done.stderr, done.stderr

def test_all_overwrites_nothing():
    """`from colorize_nb.all import *` gives fastai's names and ours, and none of ours takes the place of one of
    fastai's or torch's"""
    code = """if True:
        import torch, fastai.vision.all as f, colorize_nb.all as a
        ours = {k: v for k, v in vars(a).items() if str(getattr(v, '__module__', '')).startswith('colorize_nb')}
        print([k for k in ours if hasattr(f, k) and getattr(f, k) is not ours[k] or hasattr(torch, k)])"""
    done = warm.run(code=code)
    assert done.returncode == 0 and done.stdout.strip() == '[]', done.stdout + done.stderr

def test_nothing_is_huge():
    files = run('git', 'ls-files', '-z').stdout.split('\0')
    if files == ['']: pytest.skip('not a git checkout')
    assert not [f for f in files if f and (ROOT/f).exists() and (ROOT/f).stat().st_size > 30*2**20]

IMPORTS = ast.Import, ast.ImportFrom

def made_names(tree, inside):
    "Names that `tree` makes; with `inside` also those within functions and classes, their arguments included"
    found, todo = set(), list(tree.body)
    while todo:
        o = todo.pop()
        if isinstance(o, (ast.FunctionDef, ast.ClassDef)): found.add(o.name)
        if isinstance(o, IMPORTS): found |= {(a.asname or a.name).split('.')[0] for a in o.names}
        if isinstance(o, ast.Name) and isinstance(o.ctx, ast.Store): found.add(o.id)
        if inside and isinstance(o, ast.arg): found.add(o.arg)
        if inside and isinstance(o, ast.ExceptHandler) and o.name: found.add(o.name)
        if inside or not isinstance(o, (ast.FunctionDef, ast.ClassDef, ast.Lambda)): todo += ast.iter_child_nodes(o)
    return found

@pytest.mark.parametrize('nb', NOTEBOOKS, ids=name)
def test_cells_with_imports_stand_alone(nb):
    """To make the docs nbdev runs exported cells and cells with imports and no others: what such a cell uses must not
    come from others"""
    run_, made, bad = set(), set(), []
    for i, src in enumerate(sources(nb)):
        tree = ast.parse(re.sub(r'^\s*[%!].*', '', src, flags=re.M))
        exported = re.search(r'^#\|\s*(export|exporti|exec_doc)\b', src, re.M)
        shown = not re.search(r'^#\|\s*eval:\s*false', src, re.M)
        if exported or any(isinstance(o, IMPORTS) for o in ast.walk(tree)) and shown:
            run_ |= made_names(tree, inside=False)
            used = {o.id for o in ast.walk(tree) if isinstance(o, ast.Name) and isinstance(o.ctx, ast.Load)}
            lost = used & made - run_ - made_names(tree, inside=True)
            if not exported and lost: bad.append(f"code cell {i} uses {', '.join(sorted(lost))}: {src[:60]!r}")
        else: made |= made_names(tree, inside=False)
    assert not bad, 'put the imports into a cell of their own:\n' + '\n'.join(bad)

@pytest.mark.slow
def test_docs_build_and_links_lead_somewhere():
    done = run(sys.executable, ROOT/'tools'/'check_docs.py', '--workers', 2)
    assert done.returncode == 0, '\n'.join(o for o in done.stdout.splitlines()
                                           if o.startswith(('FAILED', 'docs:'))) + done.stderr[-2000:]

@pytest.mark.parametrize('mod', MODULES)
def test_no_default_shows_this_machine(mod):
    "A page prints a default as it is: `env=os.environ` would publish the environment of whoever builds the site"
    tree = tree_of(mod)
    functions = [o.args for o in ast.walk(tree) if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))]
    defaults = [d for a in functions for d in [*a.defaults, *a.kw_defaults] if d is not None]
    assert not [ast.unparse(d) for d in defaults if re.search(r'environ|cwd\(|home\(|gethostname', ast.unparse(d))]
