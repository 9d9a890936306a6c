"""Build the documentation without Quarto and check every local link, anchor and picture in it.

nbdev prepares the notebooks as it does for Quarto, nbconvert turns them into Markdown, pandoc into HTML; then each link
is followed. Addresses of the documentation site and of the repository count as local. The site's sidebar is checked
too. Around each page stand the navbar, the sidebar, the links to its source and the footer of _quarto.yml.
"""
import argparse
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pypandoc
import try_it
import yaml
from alt_texts import with_alts
from members import module_of, with_members
from nbconvert import MarkdownExporter
from nbdev.config import get_config
from nbdev.serve import proc_nbs

TOOLS = Path(__file__).resolve().parent
# what a cell may hold
KEYS = {'markdown': ['attachments'], 'raw': ['attachments'], 'code': ['execution_count', 'outputs']}

HIDDEN = re.compile(r'^#\|\s*(echo:\s*false|code-fold:\s*true)', re.M)
FOLD, END = '<details class="code"><summary>Code</summary>\n\n', '\n\n</details>'

def fold(cells, source):
    "Add code to the list `cells` as a Markdown cell that is closed; to the one before, if that is such a cell too"
    code = f'````python\n{source.strip()}\n````'
    last = cells[-1].source if cells else ''
    if last.startswith(FOLD): cells[-1].source = f'{last.removesuffix(END)}\n\n{code}{END}'
    else: cells.append(nbformat.v4.new_markdown_cell(FOLD + code + END))

def standard(nb):
    """Notebook `nb` with only the keys that nbformat knows, as Quarto would show it: cells with `echo: false` become
    their output, code of cells with `code-fold: true` is closed"""
    cells = []
    for c in nb.cells:
        c = nbformat.from_dict({'metadata': {},
                                **{k: c[k] for k in ['cell_type', 'id', 'source', *KEYS[c.cell_type]] if k in c}})
        if c.cell_type == 'code':
            c.setdefault('execution_count', None)
            hidden = HIDDEN.search(c.source)
            c.source = re.sub(r'^#\|.*\n?', '', c.source, flags=re.M)
            if hidden:
                if 'fold' in hidden[1] and c.source.strip(): fold(cells, c.source)
                if not c.outputs: continue
                shown = [o.get('data', {}).get('text/markdown', '') for o in c.outputs]
                if any(shown): c = nbformat.v4.new_markdown_cell('\n\n'.join(map(str, shown)))
                else: c.metadata['transient'] = dict(remove_source=True) # as nbconvert calls it
        cells.append(c)
    return nbformat.from_dict(dict(cells=cells, metadata={'language_info': {'name': 'python'}}, nbformat=4,
                                   nbformat_minor=5))

def front_matter(nb):
    "What nbdev wrote into the notebook's front matter: title, description, name of the page"
    raw = ''.join(c.source for c in nb.cells if c.cell_type == 'raw')
    m = re.search(r'^---\n(.*?)^---', raw, re.M | re.S)
    return yaml.safe_load(m[1]) if m else {}

class Frame:
    "What stands around every page, from the settings of Quarto"
    def __init__(self, config, git_url, doc_url, notebooks):
        "`notebooks`: name of a notebook -> (name of its page, title)"
        self.web, self.git_url, self.doc_url, self.notebooks = config.get('website', {}), git_url, doc_url, notebooks

    def link(self, page, target, text):
        "A link on `page` to a notebook or an address; '' if there is no such notebook"
        here = ''
        if not re.match('https?:', target):
            if target not in self.notebooks: return ''
            here = ' aria-current="page"' if self.notebooks[target][0] == page else ''
            target = os.path.relpath(self.notebooks[target][0], Path(page).parent).replace(os.sep, '/')
        return f'<a href="{html.escape(target)}"{here}>{html.escape(text)}</a>'

    def navbar(self, page):
        bar = self.web.get('navbar') or {}
        links = [self.link(page, o['href'], o['text']) for k in ('left', 'right') for o in bar.get(k, [])]
        return f'<nav class="navbar" aria-label="Site">{"".join(links)}</nav>' if any(links) else ''

    def sidebar(self, page, nbs):
        "Its sections, all closed but the one that `page` is in"
        res = ''
        for o in (self.web.get('sidebar') or {}).get('contents', []):
            names = sidebar(dict(website=dict(sidebar=dict(contents=[o]))), nbs)
            links = [self.link(page, n, o.get('text') or self.notebooks[n][1]) for n in names if n in self.notebooks]
            if 'section' not in o: res += ''.join(f'<p>{k}</p>' for k in links)
            else:
                here = ' open' if page in [self.notebooks[n][0] for n in names if n in self.notebooks] else ''
                res += f'<details{here}><summary>{html.escape(o["section"])}</summary>'
                res += ''.join(f'<p>{k}</p>' for k in links) + '</details>'
        return f'<nav class="sidebar" aria-label="Pages">{res}</nav>' if res else ''

    def head(self, page, title, description):
        "For search engines and for those who pass the page on"
        up = '../'*page.count('/')
        res = '<meta name="color-scheme" content="light dark">\n'
        if icon := self.web.get('favicon'): res += f'<link rel="icon" href="{up}{icon}">\n'
        about = {'og:title': title, 'og:description': description, 'og:url': self.doc_url + page,
                 'og:image': self.web.get('image') and self.doc_url + self.web['image'],
                 'og:image:alt': self.web.get('image-alt')}
        return res + ''.join(f'<meta property="{k}" content="{html.escape(v)}">\n' for k, v in about.items() if v)

    def foot(self, page, notebook):
        "Links to edit the notebook, to its source and to report a mistake; the footer"
        path = f'main/nbs/{notebook}'
        words = dict(edit=('Edit this page', f'edit/{path}'), source=('View source', f'blob/{path}'),
                     issue=('Report an issue', 'issues/new'))
        links = [self.link(page, self.git_url + words[k][1], words[k][0]) for k in self.web.get('repo-actions', [])]
        foot = self.web.get('page-footer') or {}
        texts = [foot[k] for k in ('left', 'center', 'right') if k in foot]
        texts = [re.sub(r'\[([^]]*)\]\(([^)]*)\)', r'<a href="\2">\1</a>', html.escape(o)) for o in texts]
        return '<footer>' + ''.join(f'<p>{o}</p>' for o in [' · '.join(links), *texts] if o) + '</footer>'

def write_page(page, md, matter, frame, notebook, nbs, out):
    "Turn the Markdown `md` into HTML at `page`; pandoc's complaints"
    title = matter.get('title') or page.stem
    rel, up = page.relative_to(out).as_posix(), '../'*(len(page.relative_to(out).parts) - 1)
    with tempfile.TemporaryDirectory() as tmp:
        parts = dict(head=frame.head(rel, title, matter.get('description')),
                     before=frame.navbar(rel) + frame.sidebar(rel, nbs) + '<main>',
                     after='</main>' + frame.foot(rel, notebook))
        for k, v in parts.items(): (Path(tmp)/k).write_text(v, encoding='utf-8')
        done = subprocess.run([pypandoc.get_pandoc_path(), '--from=markdown+autolink_bare_uris-implicit_figures',
                               '--to=html', '--standalone', '--mathml', f'--metadata=pagetitle:{title}',
                               '--metadata=lang:en',
                               f"--metadata=subtitle:{matter.get('description', '').replace('`', '')}",
                               '--metadata=document-css:false', f'--css={up}styles.css', f'--css={up}plain.css',
                               f'--include-in-header={tmp}/head', f'--include-before-body={tmp}/before',
                               f'--include-after-body={tmp}/after', '-o', str(page)],
                              input=md, capture_output=True, text=True, encoding='utf-8')
    if page.exists(): page.write_text(with_alts(page.read_text(encoding='utf-8')), encoding='utf-8', newline='\n')
    return [' '.join(o.split())[:200] for o in re.split(r'^(?=\[)', done.stderr, flags=re.M) if o.strip()]

def build(proc, out, cfg):
    """Write Markdown, pictures and HTML of the notebooks in `proc` to `out`; a dict from page to notebook, and pandoc's
    complaints"""
    pages, complaints, nbs = {}, [], cfg.nbs_path.resolve()
    exporter = MarkdownExporter() # it writes pictures into files of their own
    read = {src.relative_to(proc): nbformat.read(src, as_version=nbformat.NO_CONVERT)
            for src in sorted(proc.rglob('*.ipynb'))}
    matter = {rel: front_matter(nb) for rel, nb in read.items()}
    names = {rel: rel.with_name(m.get('output-file') or rel.with_suffix('.html').name) for rel, m in matter.items()}
    titles = {rel: m.get('title') or rel.stem for rel, m in matter.items()}
    frame = Frame(settings(nbs), cfg.git_url.rstrip('/') + '/', cfg.doc_url.rstrip('/') + '/',
                  {rel.as_posix(): (names[rel].as_posix(), titles[rel]) for rel in read})
    for rel, nb in read.items():
        page, module = out/names[rel], module_of(rel, nbs.parent)
        if module: nb.cells = list(map(nbformat.from_dict, with_members(nb.cells, module.read_text(encoding='utf-8'))))
        page.parent.mkdir(parents=True, exist_ok=True)
        md, res = exporter.from_notebook_node(standard(nb),
                                              {'output_files_dir': page.stem + '_files', 'unique_key': page.stem})
        for name, data in (res.get('outputs') or {}).items():
            pic = page.parent/name
            pic.parent.mkdir(parents=True, exist_ok=True)
            pic.write_bytes(data)
        page.with_suffix('.md').write_text(md, encoding='utf-8')
        md = md.replace(f'({frame.doc_url}images/', f"({'../'*rel.as_posix().count('/')}images/") # to be read anywhere
        complaints += [f'{rel}: {o}' for o in write_page(page, md, matter[rel], frame, rel.as_posix(), nbs, out)]
        pages[page.relative_to(out).as_posix()] = rel.as_posix()
    shutil.copy(TOOLS/'plain.css', out)
    if (nbs/'styles.css').exists(): shutil.copy(nbs/'styles.css', out)
    for d in ('images', 'try_it'):
        if (nbs/d).exists(): shutil.copytree(nbs/d, out/d, dirs_exist_ok=True)
    return pages, complaints

class Links(HTMLParser):
    "Collects the ids of a page, the addresses that it points to, and what it loads from other servers"
    def __init__(self, text):
        super().__init__()
        self.ids, self.targets, self.foreign = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[k] for k in ('id', 'name') if attrs.get(k)}
        self.targets += [attrs[k] for k in ('href', 'src') if attrs.get(k) and tag != 'link']
        loaded = attrs.get('href' if tag == 'link' else 'src') or ''
        if re.match('(https?:)?//', loaded): self.foreign.append(loaded)

class Site:
    "The built pages in `out`, the sources in `nbs`, and what a link may point to"
    def __init__(self, out, nbs, pages, doc_url, git_url):
        self.out, self.nbs, self.root, self.pages = out, nbs, nbs.parent, pages
        self.doc_url, self.git_url = doc_url.rstrip('/') + '/', git_url.rstrip('/') + '/'
        self.links = {p: Links((out/p).read_text(encoding='utf-8')) for p in pages}
        self.by_notebook = {nb: p for p, nb in pages.items()}

    def problem(self, page, target):
        "What is wrong with `target` on `page`, or None"
        if target.startswith(self.doc_url): target, page = '/' + target[len(self.doc_url):], ''
        elif m := re.match(re.escape(self.git_url) + r'(?:blob|tree|raw)/[^/]+/([^#?]+)', target):
            return None if (self.root/unquote(m[1])).exists() else f'no such file in the repository: {m[1]}'
        url = urlsplit(target)
        if url.scheme or url.netloc: return None
        name = self._resolve(page, unquote(url.path))
        if name not in self.links:
            return None if (self.out/name).is_file() or (self.nbs/name).is_file() else f'no such page or file: {target}'
        if url.fragment and unquote(url.fragment) not in self.links[name].ids: return f'no such anchor: {target}'

    def _resolve(self, page, path):
        "The page or file that `path` means on `page`, relative to the site's top"
        if not path: return page or 'index.html'
        base = self.out if path.startswith('/') else (self.out/page).parent
        full = (base/path.lstrip('/')).resolve()
        name = full.relative_to(self.out).as_posix() if full.is_relative_to(self.out) else path
        if path.endswith('/') or name == '.': name = (Path(name)/'index.html').as_posix()
        name = name.removesuffix('.md') if name.endswith('.html.md') else name
        return self.by_notebook.get(name, name)

    def problems(self, page):
        "All the problems of `page`"
        found, foreign = self.links[page], [o for o in self.links[page].foreign if not o.startswith(self.doc_url)]
        return ([p for t in dict.fromkeys(found.targets) if (p := self.problem(page, t))]
                + [f'loaded from another server: {o}' for o in dict.fromkeys(foreign)])

def sidebar(config, nbs):
    "The notebooks in the sidebar of the Quarto settings `config`, with patterns filled in"
    found = []
    def walk(x):
        if isinstance(x, dict):
            walk(x.get('contents', []))
            if 'href' in x: walk(x['href'])
        elif isinstance(x, list):
            for o in x: walk(o)
        elif '*' in x: found.extend(sorted(p.relative_to(nbs).as_posix() for p in nbs.glob(x)))
        else: found.append(x)
    walk(config.get('website', {}).get('sidebar', {}).get('contents', []))
    return found

def settings(nbs):
    "The settings of Quarto beside the folder `nbs`; {} if there are none"
    path = nbs.parent/'_quarto.yml'
    return yaml.safe_load(path.read_text(encoding='utf-8')) if path.exists() else {}

def named_files(config):
    "The files that the settings name: stylesheets, themes, pictures, and notebooks in the navbar"
    page, web = config.get('format', {}).get('html', {}), config.get('website', {})
    res = [*config.get('metadata-files', []), *(page[k] for k in ['css'] if k in page)]
    res += [o for theme in (page.get('theme') or {}).values() for o in theme if o.endswith('.scss')]
    res += [web[k] for k in ('favicon', 'image') if k in web]
    hrefs = [o['href'] for k in ('left', 'right') for o in (web.get('navbar') or {}).get(k, [])]
    return res + [o for o in hrefs if not re.match('https?:', o)]

def check_sidebar(nbs, pages):
    "Problems of the sidebar: names without a notebook, notebooks without a name; and files that the settings want"
    config = settings(nbs)
    if not config: return []
    names = sidebar(config, nbs)
    return ([f'sidebar: no such notebook: {n}' for n in names if not (nbs/n).exists()]
            + [f'sidebar: missing: {n}' for n in pages.values() if n not in names]
            + [f'settings: no such file: {n}' for n in named_files(config) if not (nbs/n).exists()])

def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument('--out', type=Path, help='keep the pages in this folder')
    args.add_argument('--workers', type=int, default=2, help='notebooks prepared at once')
    args = args.parse_args()
    # nbdev warns of each cell that imports and does something too; its workers inherit this
    os.environ['PYTHONWARNINGS'] = 'ignore'
    cfg = get_config()
    try: proc = Path(proc_nbs(cfg.nbs_path.name, n_workers=args.workers, force=True))
    except Exception as e:
        print(f'{e}\n\nnbdev runs exported cells and cells with imports to make the docs, and no others: imports want '
              f'a cell of their own.')
        print(f'FAILED {str(e).splitlines()[0]}\ndocs: 0 passed, 1 failed')
        return 1
    with tempfile.TemporaryDirectory() as tmp:
        out = (args.out or Path(tmp)).resolve()
        pages, complaints = build(proc, out, cfg)
        if args.out and (out/'try_it').exists():
            try: try_it.serve(out)
            except try_it.NotFetchedError as e: print(f'The page "Try it" cannot colour here: {e}')
        site = Site(out, cfg.nbs_path.resolve(), pages, cfg.doc_url, cfg.git_url)
        bad = {p: probs for p in pages if (probs := site.problems(p))}
    for page, probs in bad.items():
        for p in probs: print(f'FAILED {pages[page]}: {p}')
    general = complaints + check_sidebar(cfg.nbs_path, pages)
    for p in general: print(f'FAILED {p}')
    failed = len(bad) + len(general)
    print(f'docs: {len(pages) - len(bad) + (not general)} passed, {failed} failed'
          + (f'; pages in {args.out}' if args.out else ''))
    return failed > 0

if __name__ == '__main__': sys.exit(main())
