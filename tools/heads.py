"""Write the head of every notebook: under the title a badge that opens the notebook on Colab, and a first code cell
that installs there what it imports. Both are made here and nowhere else, so that all are alike. And fold the code under
a heading "Tests": a reader of the site meets use before proof, and opens the proof if he wants it.
"""
import ast
import json
import re
from pathlib import Path

REPOSITORY = 'colorize-nb/colorize_nb'
BADGE = 'https://colorize-nb.github.io/colorize_nb/images/colab.svg' # our own picture: the site asks no other server
FIRST = 'tutorials/00_gan_colorization.ipynb' # what the badge of the home page opens
# what notebooks import beyond `colorize_nb[all]`, mostly in their tests: module -> distribution
MORE = dict(lpips='lpips', nbdev='nbdev', piexif='piexif', pillow_heif='pillow-heif', playwright='playwright',
            png='pypng')

def imports(nb):
    "Top-level modules that the cells of notebook `nb` import"
    found = set()
    for c in nb['cells']:
        if c['cell_type'] != 'code': continue
        tree = ast.parse(re.sub(r'^\s*[%!].*', '', ''.join(c['source']), flags=re.M))
        for o in ast.walk(tree):
            if isinstance(o, ast.Import): found |= {a.name.split('.')[0] for a in o.names}
            if isinstance(o, ast.ImportFrom) and not o.level: found.add(o.module.split('.')[0])
    return found

def badge(name):
    "The line that opens notebook `name`, a path below `nbs`, on Colab"
    return f'[![Open in Colab]({BADGE})](https://colab.research.google.com/github/{REPOSITORY}/blob/main/nbs/{name})'

def install(nb):
    "The cell that installs what notebook `nb` imports, on Colab alone: only there is a folder /content"
    more = ''.join(f' {MORE[m]}' for m in sorted(imports(nb) & MORE.keys()))
    return f'#| hide\n! [ -e /content ] && pip install -Uqq "colorize_nb[all]"{more}'

def _cell(kind, id, source):
    code = dict(execution_count=None, outputs=[]) if kind == 'code' else {}
    return dict(cell_type=kind, id=id, metadata={}, source=source.splitlines(keepends=True)) | code

def folded(nb):
    "Notebook `nb` with the code under a heading \"Tests\" folded, but for what the site does not show anyway"
    res, tests = [], False
    for c in nb['cells']:
        source = ''.join(c['source'])
        if c['cell_type'] == 'markdown':
            for heading in re.findall(r'^#+ (.*)', source, re.M): tests = heading.strip() == 'Tests'
        elif tests and not re.search(r'^#\|\s*(hide|export|code-fold|echo)', source, re.M):
            c = c | dict(source=['#| code-fold: true\n', *c['source']])
        res.append(c)
    return nb | dict(cells=res)

def with_head(nb, name):
    "Notebook `nb` with its head; the notebook itself if that was right"
    title, *rest = [c for c in nb['cells'] if c['id'] not in ('colab', 'install')]
    if name == 'index.ipynb': head = [_cell('markdown', 'colab', badge(FIRST))]
    else: head = [_cell('markdown', 'colab', badge(name)), _cell('code', 'install', install(nb))]
    return nb | dict(cells=[title, *head, *rest])

def as_text(nb): return json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + '\n'

if __name__ == '__main__':
    nbs = Path(__file__).resolve().parent.parent/'nbs'
    for path in sorted(nbs.rglob('*.ipynb')):
        if any(o[0] in '._' for o in path.relative_to(nbs).parts): continue
        nb = json.loads(path.read_text(encoding='utf-8'))
        new = folded(with_head(nb, path.relative_to(nbs).as_posix()))
        if new != nb: path.write_text(as_text(new), encoding='utf-8', newline='\n')
    print('heads written')
