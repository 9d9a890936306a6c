"""Build the documentation without Quarto and check every local link, anchor and picture in it.

nbdev prepares the notebooks as it does for Quarto, nbconvert turns them into Markdown, pandoc into HTML; then each link
is followed. Addresses of the documentation site and of the repository count as local. The site's sidebar is checked
too.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pypandoc
import yaml
from nbconvert import MarkdownExporter
from nbdev.config import get_config
from nbdev.serve import proc_nbs

# what a cell may hold
KEYS = {'markdown': ['attachments'], 'raw': ['attachments'], 'code': ['execution_count', 'outputs']}

def standard(nb):
    """Notebook `nb` with only the keys that nbformat knows, as Quarto would show it: cells with `echo: false` become
    their output"""
    cells = []
    for c in nb.cells:
        c = nbformat.from_dict({'metadata': {},
                                **{k: c[k] for k in ['cell_type', 'id', 'source', *KEYS[c.cell_type]] if k in c}})
        if c.cell_type == 'code':
            c.setdefault('execution_count', None)
            if re.search(r'^#\|\s*echo:\s*false', c.source, re.M):
                if not c.outputs: continue
                shown = [o.get('data', {}).get('text/markdown', '') for o in c.outputs]
                if any(shown): c = nbformat.v4.new_markdown_cell('\n\n'.join(map(str, shown)))
            c.source = re.sub(r'^#\|.*\n?', '', c.source, flags=re.M)
        cells.append(c)
    return nbformat.from_dict(dict(cells=cells, metadata={'language_info': {'name': 'python'}}, nbformat=4,
                                   nbformat_minor=5))

def page_name(nb):
    "The page's file name, which nbdev writes into the notebook's front matter, or None"
    m = re.search(r'^output-file:\s*(\S+)', ''.join(c.source for c in nb.cells if c.cell_type == 'raw'), re.M)
    return m and m[1]

def build(proc, out):
    """Write Markdown, pictures and HTML of the notebooks in `proc` to `out`; a dict from page to notebook, and pandoc's
    complaints"""
    pages, complaints = {}, []
    exporter = MarkdownExporter() # it writes pictures into files of their own
    for src in sorted(proc.rglob('*.ipynb')):
        nb, rel = nbformat.read(src, as_version=nbformat.NO_CONVERT), src.relative_to(proc)
        page = out/rel.with_name(page_name(nb) or rel.with_suffix('.html').name)
        page.parent.mkdir(parents=True, exist_ok=True)
        md, res = exporter.from_notebook_node(standard(nb),
                                              {'output_files_dir': page.stem + '_files', 'unique_key': page.stem})
        for name, data in (res.get('outputs') or {}).items():
            pic = page.parent/name
            pic.parent.mkdir(parents=True, exist_ok=True)
            pic.write_bytes(data)
        page.with_suffix('.md').write_text(md, encoding='utf-8')
        done = subprocess.run([pypandoc.get_pandoc_path(), '--from=markdown+autolink_bare_uris', '--to=html',
                               '--standalone', '--mathml',
                               f'--metadata=pagetitle:{page.stem}', '-o', str(page)], input=md, capture_output=True,
                              text=True, encoding='utf-8')
        complaints += [f"{rel}: {' '.join(o.split())[:200]}"
                       for o in re.split(r'^(?=\[)', done.stderr, flags=re.M) if o.strip()]
        pages[page.relative_to(out).as_posix()] = rel.as_posix()
    return pages, complaints

class Links(HTMLParser):
    "Collects the ids of a page and the addresses that it points to"
    def __init__(self, text):
        super().__init__()
        self.ids, self.targets = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[k] for k in ('id', 'name') if attrs.get(k)}
        self.targets += [attrs[k] for k in ('href', 'src') if attrs.get(k) and tag != 'link']

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
        return [p for t in dict.fromkeys(self.links[page].targets) if (p := self.problem(page, t))]

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

def check_sidebar(nbs, pages):
    "Problems of the sidebar: names without a notebook, notebooks without a name; and files that the settings want"
    path = nbs.parent/'_quarto.yml'
    if not path.exists(): return []
    config = yaml.safe_load(path.read_text(encoding='utf-8'))
    names, html = sidebar(config, nbs), config.get('format', {}).get('html', {})
    wanted = [*config.get('metadata-files', []), *([html['css']] if 'css' in html else [])]
    return ([f'sidebar: no such notebook: {n}' for n in names if not (nbs/n).exists()]
            + [f'sidebar: missing: {n}' for n in pages.values() if n not in names]
            + [f'settings: no such file: {n}' for n in wanted if not (nbs/n).exists()])

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
        pages, complaints = build(proc, out)
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
