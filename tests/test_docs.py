"The docs check finds what is broken, and only that; the README and the step check do their work."
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import warm

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
        return warm.run('--workers', '0', *args, script=TOOLS/'check_docs.py', cwd=tmp_path)
    return check

good = ['[x](01_page.ipynb)', '[x](page.html#a-heading)', '[x](https://docs.example.org/tiny/page.html#a-heading)',
        '![x](images/here.png)', '![x](https://docs.example.org/tiny/images/here.png)',
        '[x](https://example.org/me/tiny/blob/main/pyproject.toml#L2)', '[x](https://elsewhere.example.org/nothing)',
        '$x^2$', '[x](#here)\n\n## Here']
broken = {'[x](02_none.ipynb)': '02_none.ipynb', '[x](page.html#no-heading)': '#no-heading',
          '![x](images/none.png)': 'images/none.png',
          '[x](https://docs.example.org/tiny/none.html)': 'none.html', '[x](#nowhere)': '#nowhere',
          '[x](https://example.org/me/tiny/blob/main/none.py)': 'none.py', '<img src="none.jpg">': 'none.jpg',
          '![x](https://elsewhere.example.org/x.png)': 'loaded from another server: https://elsewhere.example.org/x.png',
          '<script src="//cdn.example.org/x.js"></script>': 'loaded from another server: //cdn.example.org/x.js',
          r'$\frac{1$': 'TeX'}

def test_good_links_and_pages_are_kept(project, tmp_path):
    out = tmp_path/'site'
    done = project('\n\n'.join(good), '--out', str(out))
    assert done.returncode == 0 and 'FAILED' not in done.stdout, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith('docs: 3 passed, 0 failed') # two pages, and the site's settings
    assert sorted(p.name for p in out.glob('*.html')) == ['index.html', 'page.html']
    assert sorted(p.parent.name for p in out.rglob('*.png')) == ['images', 'page_files'] # the last: of the code cell
    page = (out/'page.html').read_text(encoding='utf-8')
    index = (out/'index.html').read_text(encoding='utf-8')
    assert index.count('<img src="images/here.png" alt="x"') == 2 # of this site: no other is asked
    assert '<title>Page</title>' in page and 'alt="Figure: A heading"' in page and '<main>' in page

def test_broken_links_and_sidebar(project, tmp_path):
    (tmp_path/'_quarto.yml').write_text('website: {sidebar: {contents: [{section: A, contents: [index.ipynb, '
                                        '09_none.ipynb]}]}}')
    done = project('\n\n'.join(broken))
    failed = [o for o in done.stdout.splitlines() if o.startswith('FAILED')]
    assert done.returncode == 1 and len(failed) == len(broken) + 2, done.stdout + done.stderr
    for what in broken.values(): assert any(what in o for o in failed), f'{what} was not found broken:\n{done.stdout}'
    assert 'no such notebook: 09_none.ipynb' in done.stdout and 'missing: 01_page.ipynb' in done.stdout

def test_frame_of_the_settings(project, tmp_path):
    "Navbar, sidebar, footer, favicon and links to the source come from Quarto's settings"
    (tmp_path/'nbs'/'icon.svg').write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (tmp_path/'_quarto.yml').write_text("""website:
  favicon: icon.svg
  image: images/here.png
  repo-actions: [edit, source, issue]
  navbar: {left: [{text: Start, href: index.ipynb}], right: [{text: Code, href: "https://example.org/me/tiny"}]}
  page-footer: {left: "[Home](https://docs.example.org/tiny/), free"}
  sidebar: {contents: [{text: Home, href: index.ipynb}, {section: Rooms, contents: [01_page.ipynb]}]}
""")
    out = tmp_path/'site'
    done = project('![](images/here.png)', '--out', str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    page, index = ((out/f'{n}.html').read_text(encoding='utf-8') for n in ('page', 'index'))
    for o in ('<a href="index.html">Start</a>', '<a href="https://example.org/me/tiny">Code</a>',
              '<link rel="icon" href="icon.svg">', 'content="https://docs.example.org/tiny/images/here.png"',
              '<details open><summary>Rooms</summary><p><a href="page.html" aria-current="page">Page</a></p></details>',
              '<a href="https://example.org/me/tiny/edit/main/nbs/01_page.ipynb">Edit this page</a>',
              '<a href="https://docs.example.org/tiny/">Home</a>, free'):
        assert o in page, o
    assert '<details><summary>Rooms</summary>' in index # closed: this page is not in it
    (tmp_path/'nbs'/'icon.svg').unlink()
    assert 'no such file: icon.svg' in project('Words.').stdout

def test_folded_code_and_hidden_code(project, tmp_path):
    "As Quarto has it: `code-fold: true` closes the code, `echo: false` leaves it out; outputs stay"
    (tmp_path/'nbs'/'01_page.ipynb').write_text(notebook(
        ('markdown', '# Page\n\n> Two.'), ('code', 'shown = 1'), ('code', '#| code-fold: true\nproof = 1'),
        ('code', '#| code-fold: true\n"""\n```\n"""'), ('code', '#| echo: false\nsecret = 1')))
    out = tmp_path/'site'
    done = project('Words.', '--out', str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    md = (out/'page.md').read_text(encoding='utf-8')
    first, second, third = md.split('<details class="code"><summary>Code</summary>\n\n')
    assert first.split('![')[0].endswith('```python\nshown = 1\n```\n\n\n    \n') and 'secret' not in md
    assert second.startswith('````python\nproof = 1\n````\n\n</details>')
    assert third.startswith('````python\n"""\n```\n"""\n````\n\n</details>') and md.count('![png]') == 4
    page = (out/'page.html').read_text(encoding='utf-8')
    assert page.count('<details class="code">') == 2 and page.count('alt="Figure: Page"') == 4

def test_folded_cells_without_outputs_are_one():
    sys.path.insert(0, str(TOOLS))
    from check_docs import standard
    nb = nbformat.reads(notebook(('code', '#| code-fold: true\na = 1'), ('code', '#| code-fold: true\nb = 2')), 4)
    for c in nb.cells: c.outputs = []
    cell, = standard(nb).cells
    assert cell.cell_type == 'markdown' and cell.source.count('<summary>') == cell.source.count('</details>') == 1
    assert 'a = 1' in cell.source and 'b = 2' in cell.source

def test_tests_are_folded():
    "`make export` folds the code under a heading \"Tests\", and only that"
    sys.path.insert(0, str(TOOLS))
    from heads import folded
    nb = json.loads(notebook(('markdown', '# Page\n\n> Two.'), ('code', 'use()'), ('markdown', '## Tests'),
                             ('code', 'assert 1'), ('code', '#| hide\nassert 2'),
                             ('code', '#| code-fold: true\nassert 3'), ('markdown', 'Words.\n\n## Testing others'),
                             ('code', 'assert 4')))
    for c in nb['cells']: c['source'] = c['source'].splitlines(keepends=True)
    made = [''.join(c['source']) for c in folded(nb)['cells'] if c['cell_type'] == 'code']
    assert made == ['use()', '#| code-fold: true\nassert 1', '#| hide\nassert 2', '#| code-fold: true\nassert 3',
                    'assert 4']
    assert folded(folded(nb)) == folded(nb)

def test_scripts_of_other_servers_are_removed(tmp_path):
    "What Quarto writes where a page has a table of pandas (quarto-cli, src/core/jupyter/widgets.ts)"
    ours = '<script src="../site_libs/quarto-html/quarto.js"></script><script>go()</script>'
    cdn = ('<script src="https://cdnjs.cloudflare.com/ajax/libs/require.js/2.3.6/require.min.js" '
           'integrity="sha512-c3N" crossorigin="anonymous"></script>\n<script src="https://cdnjs.cloudflare.com/ajax/libs/jquery/3.5.1/'
           'jquery.min.js" crossorigin="anonymous" data-relocate-top="true"></script>\n<script '
           'type="application/javascript" data-relocate-top="true">'
           "define('jquery', [],function() {return window.jQuery;})</script>\n")
    (tmp_path/'rooms').mkdir()
    (tmp_path/'rooms'/'page.html').write_text(f'<head>{ours}{cdn}</head>')
    (tmp_path/'plain.html').write_text(f'<head>{ours}</head>')
    done = subprocess.run([sys.executable, str(TOOLS/'no_cdn.py'), str(tmp_path)], capture_output=True, text=True)
    assert done.stdout == 'no_cdn: 1 pages had scripts of other servers\n', done.stderr
    assert (tmp_path/'rooms'/'page.html').read_text() == (tmp_path/'plain.html').read_text() == f'<head>{ours}</head>'

MODULE = """
class A:
    "Doc."
    def __init__(self, x): "Take it."
    def shown(self): "Has a heading."
    def run(self, x:int, *more, fast=False, **kw)->int: "Run `x`.\\n\\nSlowly."
    @staticmethod
    def make(name): "Make one."
    @property
    def size(self)->int: "Its size."
    @size.setter
    def size(self, v): "Set it."
    def bare(self): pass
    def _own(self): "Private."
class _B:
    def f(self): "Hidden."
"""

def test_members_of_a_class():
    sys.path.insert(0, str(TOOLS))
    from members import with_members
    def code(source): return dict(cell_type='code', id=source, source=source)
    cells = [code('show_doc(A)'), code('show_doc(A.shown)'), code('show_doc(other)'), code('A(1).run(2)')]
    made = with_members(cells, MODULE)
    assert [c for c in made if c in cells] == cells and len(made) == 5 and made[1]['cell_type'] == 'markdown'
    assert made[1]['source'] == ('Also in `A`:\n\n- `run(x, *more, fast, **kw)`: Run `x`.\n- `make(name)`: Make one.\n'
                                 '- `size`: Its size.')

def test_events_are_no_parameters():
    "What nbdev 3.3 prints of a callback of fastai 2.8, cut short"
    sys.path.insert(0, str(TOOLS))
    from members import with_members
    said = '```python\ndef A(\n    *, after_create:NoneType=None,\n    after_fit:NoneType=None\n):\n```\n\n*Doc (b):*'
    other = '```python\ndef f(\n    x:int=1, # of them\n)->{}A:\n```'
    cells = [dict(cell_type='code', id=t, source='show_doc(f)', outputs=[dict(data={'text/markdown': t})])
             for t in (said, other.format('__main__.'))]
    made = [c['outputs'][0]['data']['text/markdown'] for c in with_members(cells, '')]
    assert made == ['```python\ndef A():\n```\n\n*Doc (b):*', other.format('')]

def test_fields_of_a_class_without_init():
    "What nbdev 3.3 prints of a named tuple and of an error, and what the module says"
    sys.path.insert(0, str(TOOLS))
    from members import with_members
    module = """class Point(NamedTuple):
    "A place."
    x:int # from the left, pixels
    y:int=0 # from the top,
    _kept = 1
    def move(self): pass
class LostError(OSError): "Gone."
class Made:
    def __init__(self, n): pass
"""
    said = '```python\ndef {}(\n    {}\n):\n```\n\n*Doc.*'
    shown = dict(Point='*args, **kwargs', LostError='*args, **kwargs', other='*args, **kwargs', Made='n')
    cells = [dict(cell_type='code', id=n, source=f'show_doc({n})',
                  outputs=[dict(data={'text/markdown': said.format(n, args)})]) for n, args in shown.items()]
    made = [c['outputs'][0]['data']['text/markdown'] for c in with_members(cells, module)]
    point = 'class Point(NamedTuple):\n    x:int # from the left, pixels\n    y:int=0 # from the top,'
    lost = 'class LostError(OSError):\n    ...'
    assert made == [*(f'```python\n{o}\n```\n\n*Doc.*' for o in (point, lost)),
                    *(said.format(n, shown[n]) for n in ('other', 'Made'))]

def test_members_of_prepared_notebooks(tmp_path):
    "As Quarto calls it: in _proc it writes, twice the same, elsewhere not"
    page = dict(cells=[dict(cell_type='code', id='a', metadata={}, source=['show_doc(EpochSeed)'])])
    for folder in ('_proc', 'nbs'):
        (tmp_path/folder/'train').mkdir(parents=True)
        file = tmp_path/folder/'train'/'05_callbacks.ipynb'
        file.write_text(json.dumps(page))
        for _ in range(2): subprocess.run([sys.executable, str(TOOLS/'members.py')], cwd=tmp_path/folder, check=True)
        cells = json.loads(file.read_text())['cells']
        assert len(cells) == (2 if folder == '_proc' else 1)
        if folder == '_proc': assert '`before_epoch()`: Seed for this epoch.' in cells[1]['source']

def test_alternative_texts():
    "Only where there is none; as Quarto and as nbconvert write the pictures of a code cell"
    sys.path.insert(0, str(TOOLS))
    from alt_texts import with_alts
    own, heading = '<img src="a.png" alt="A cat">', '<h2 id="x">A <code>"loss"</code>\n&amp; more</h2>'
    assert with_alts(f'{own}<img src="b.png">') == f'{own}<img alt="Figure" src="b.png">'
    said = '<img alt="Figure: A &quot;loss&quot; &amp; more" '
    assert with_alts(f'{heading}<p><img src="c.svg"\nclass="d" alt="svg" /></p>{own}') == (
        f'{heading}<p>{said}src="c.svg"\nclass="d" /></p>{own}')

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
                           ('code', '#| hide\nsecret()'), ('markdown', '<!-- site only -->\n\nA slider, secret.'),
                           ('code', '#| eval: false\nshown()')))
    text = readme(nb)
    assert '![a](nbs/images/a.jpg) [b](nbs/01_b.ipynb) [c](#c) [d](https://d.org)' in text
    assert '```python\nshown()\n```' in text and 'secret' not in text

def test_what_a_reader_would_stumble_over(browser, tmp_path):
    "A page with each fault and one with none, as the browser lays them out"
    sys.path.insert(0, str(TOOLS))
    import look_at_site
    page = '<!doctype html><meta name=viewport content="width=device-width"><link rel=icon href="data:,">{}'
    (tmp_path/'good.html').write_text(page.format('<p>Text and <code>[x](y)</code>.</p>'))
    (tmp_path/'bad.html').write_text(page.format(
        '<p style="width:900px">Wide</p><img src="none.png"><p>[[x](y)](z)</p><p style="color:#ddd">Faint</p>'))
    with look_at_site.serving(tmp_path) as here:
        tab = browser.new_context(**look_at_site.WAYS['phone']).new_page()
        good, bad = (look_at_site.look(tab, f'{here}/{n}.html', 'dark') for n in ('good', 'bad'))
        tab.close()
    assert good == []
    assert {o.split(':')[0] for o in bad} == {'wider than the window', 'not shown', 'not a link', 'console', 'faint'}
    assert next(o for o in bad if o.startswith('faint')) == 'faint: Faint (1.4)' # 1.05/(.7231 + .05), #ddd on white
