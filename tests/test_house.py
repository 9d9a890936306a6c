"What holds for the whole house: sizes, who may import whom, docstrings, and imports that stay light."
import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if not any(o[0] in '._' for o in p.relative_to(ROOT).parts))
LIGHT = ['color.srgb', 'color.icc', 'io.metadata', 'io.download', 'io.read', 'io.write', 'colorizer.upsample', 'models.registry', 'colorizer.engines', 'colorizer.core',
         'colorizer.compare', 'io.samples', 'colorizer.plan', 'colorizer.batch', 'cli.app'] # from file to file: no torch before a torch model is loaded
USE_WING = ['color.lab', 'models.lite', *LIGHT] # what colorizes without fastai

def sources(nb):
    "The code cells' sources of the notebook at path `nb`"
    return [''.join(c['source']) for c in json.loads(nb.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code']

def module(nb):
    "The module that `nb` is exported to, or None"
    found = (re.search(r'^#\|\s*default_exp:?\s+(\S+)', s, re.M) for s in sources(nb))
    return next((m[1] for m in found if m), None)

MODULES = {m: nb for nb in NOTEBOOKS if (m := module(nb))}

def name(nb): return nb.relative_to(ROOT/'nbs').as_posix()
def python(code): return subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)

@pytest.mark.parametrize('nb', NOTEBOOKS, ids=name)
def test_notebook_is_small(nb):
    assert nb.stat().st_size <= 400*1024

@pytest.mark.parametrize('mod', MODULES)
def test_module_is_short(mod):
    assert len((ROOT/'colorize_nb'/f'{mod.replace(".", "/")}.py').read_text(encoding='utf-8').splitlines()) <= 900

@pytest.mark.parametrize('mod', MODULES)
def test_public_names_have_docstrings(mod):
    tree = ast.parse((ROOT/'colorize_nb'/f'{mod.replace(".", "/")}.py').read_text(encoding='utf-8'))
    public = next(ast.literal_eval(o.value) for o in tree.body if isinstance(o, ast.Assign) and o.targets[0].id == '__all__')
    made = [o for o in tree.body if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and o.name in public]
    assert not [o.name for o in made if not ast.get_docstring(o)]

def test_colorizing_needs_no_fastai():
    done = python('import sys\n' + ''.join(f'import colorize_nb.{m}\n' for m in USE_WING) + 'assert "fastai" not in sys.modules')
    assert done.returncode == 0, done.stderr

def test_files_need_no_torch():
    done = python('import sys\n' + ''.join(f'import colorize_nb.{m}\n' for m in LIGHT) + 'assert "torch" not in sys.modules')
    assert done.returncode == 0, done.stderr

def test_help_needs_no_torch():
    done = python('import sys\nfrom colorize_nb.cli.app import load_commands\nload_commands()\nassert "torch" not in sys.modules')
    assert done.returncode == 0, done.stderr

def test_all_holds_every_public_name():
    names = ' + '.join(f'__import__("colorize_nb.{m}", fromlist=["*"]).__all__' for m in MODULES if not m.startswith('cli.'))
    done = python(f'import colorize_nb.all as a\nmissing = [n for n in {names} if not hasattr(a, n)]\nassert not missing, missing')
    assert done.returncode == 0, done.stderr

def test_nothing_is_huge():
    files = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True).stdout.split('\0')
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
    "To make the docs nbdev runs exported cells and cells with imports and no others: what such a cell uses must not come from others"
    run, made, bad = set(), set(), []
    for i, src in enumerate(sources(nb)):
        tree = ast.parse(re.sub(r'^\s*[%!].*', '', src, flags=re.M))
        exported = re.search(r'^#\|\s*(export|exporti|exec_doc)\b', src, re.M)
        if exported or any(isinstance(o, IMPORTS) for o in ast.walk(tree)) and not re.search(r'^#\|\s*eval:\s*false', src, re.M):
            run |= made_names(tree, inside=False)
            used = {o.id for o in ast.walk(tree) if isinstance(o, ast.Name) and isinstance(o.ctx, ast.Load)}
            if not exported and (lost := used & made - run - made_names(tree, inside=True)): bad.append(f"code cell {i} uses {', '.join(sorted(lost))}: {src[:60]!r}")
        else: made |= made_names(tree, inside=False)
    assert not bad, 'put the imports into a cell of their own:\n' + '\n'.join(bad)
