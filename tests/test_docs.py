"The docs check finds what is broken, and only that; the README and the step check do their work."
import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent/'tools'
PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg==' # one pixel

def notebook(*cells):
    "A notebook's JSON from (type, source) pairs; a code cell has a picture as its output"
    def cell(i, kind, source):
        c = dict(cell_type=kind, id=f'c{i}', metadata={}, source=source)
        out = dict(output_type='display_data', metadata={}, data={'image/png': PNG, 'text/plain': '<Figure>'})
        return c | (dict(execution_count=None, outputs=[out]) if kind == 'code' else {})
    return json.dumps(dict(cells=[cell(i, *c) for i, c in enumerate(cells)], metadata={}, nbformat=4, nbformat_minor=5))

@pytest.fixture
def project(tmp_path):
    """A project of two notebooks, `index` and `01_page`, and a function that checks its docs with `text` added to the
    index"""
    (tmp_path/'nbs'/'images').mkdir(parents=True)
    (tmp_path/'pyproject.toml').write_text('[project]\nname = "tiny"\nversion = "0"\n[project.urls]\nRepository = '
                                           '"https://example.org/me/tiny"\n'
                                           'Documentation = "https://docs.example.org/tiny/"\n[tool.nbdev]\n')
    (tmp_path/'nbs'/'images'/'here.png').write_bytes(b'x')
    (tmp_path/'nbs'/'01_page.ipynb').write_text(notebook(('markdown', '# Page\n\n> Two.'), ('markdown', '## A heading'),
                                                         ('code', '1')))
    def check(text, *args):
        (tmp_path/'nbs'/'index.ipynb').write_text(notebook(('markdown', '# Tiny\n\n> One.'), ('markdown', text)))
        return subprocess.run([sys.executable, str(TOOLS/'check_docs.py'), '--workers', '0', *args], cwd=tmp_path,
                              capture_output=True, text=True)
    return check

good = ['[x](01_page.ipynb)', '[x](page.html#a-heading)', '[x](https://docs.example.org/tiny/page.html#a-heading)',
        '![x](images/here.png)',
        '[x](https://example.org/me/tiny/blob/main/pyproject.toml#L2)', '[x](https://elsewhere.example.org/nothing)',
        '$x^2$', '[x](#here)\n\n## Here']
broken = {'[x](02_none.ipynb)': '02_none.ipynb', '[x](page.html#no-heading)': '#no-heading',
          '![x](images/none.png)': 'images/none.png',
          '[x](https://docs.example.org/tiny/none.html)': 'none.html', '[x](#nowhere)': '#nowhere',
          '[x](https://example.org/me/tiny/blob/main/none.py)': 'none.py', '<img src="none.jpg">': 'none.jpg',
          r'$\frac{1$': 'TeX'}

def test_good_links_and_pages_are_kept(project, tmp_path):
    out = tmp_path/'site'
    done = project('\n\n'.join(good), '--out', str(out))
    assert done.returncode == 0 and 'FAILED' not in done.stdout, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith('docs: 3 passed, 0 failed') # two pages, and the site's settings
    assert sorted(p.name for p in out.glob('*.html')) == ['index.html', 'page.html']
    assert len(list(out.rglob('*.png'))) == 1 # the picture of the code cell

def test_broken_links_and_sidebar(project, tmp_path):
    (tmp_path/'_quarto.yml').write_text('website: {sidebar: {contents: [{section: A, contents: [index.ipynb, '
                                        '09_none.ipynb]}]}}')
    done = project('\n\n'.join(broken))
    failed = [o for o in done.stdout.splitlines() if o.startswith('FAILED')]
    assert done.returncode == 1 and len(failed) == len(broken) + 2, done.stdout + done.stderr
    for what in broken.values(): assert any(what in o for o in failed), f'{what} was not found broken:\n{done.stdout}'
    assert 'no such notebook: 09_none.ipynb' in done.stdout and 'missing: 01_page.ipynb' in done.stdout

def test_import_that_uses_what_is_not_run(project, tmp_path):
    (tmp_path/'nbs'/'01_page.ipynb').write_text(notebook(('markdown', '# Page\n\n> Two.'), ('code', 'x = 1'),
                                                         ('code', 'import json\nprint(x)'),
                                                         ('code', '#| default_exp page'),
                                                         ('code', '#| export\ndef f(): pass')))
    done = project('Words.')
    assert done.returncode == 1 and 'a cell of their own' in done.stdout and done.stdout.splitlines(
        )[-1] == 'docs: 0 passed, 1 failed'

def test_readme(tmp_path):
    sys.path.insert(0, str(TOOLS))
    from make_readme import readme
    nb = tmp_path/'nbs'/'index.ipynb'
    nb.parent.mkdir()
    nb.write_text(notebook(('markdown', '![a](images/a.jpg) [b](01_b.ipynb) [c](#c) [d](https://d.org)'),
                           ('code', '#| hide\nsecret()'),
                           ('code', '#| eval: false\nshown()')))
    text = readme(nb)
    assert '![a](nbs/images/a.jpg) [b](nbs/01_b.ipynb) [c](#c) [d](https://d.org)' in text
    assert '```python\nshown()\n```' in text and 'secret' not in text
