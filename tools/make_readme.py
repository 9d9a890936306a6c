"Write README.md from nbs/index.ipynb: its prose and its code, with links that work from the top of the repository."
import json
import re
from pathlib import Path

NOTE = '<!-- Made from nbs/index.ipynb by `make readme`: edit that. -->'
HIDDEN = re.compile(r'^(#\|\s*(hide|default_exp|export)|<!-- site only)', re.M)
TARGET = re.compile(r'(\]\(|<img [^>]*?src=")(?![a-z]+:|#|/)') # what stands before a relative link or picture

def _code(source, outputs):
    "A code cell as a fenced block, its printed text as another"
    lines = [o for o in source.splitlines() if not o.startswith('#|')]
    magic = lines[:1] == ['%%bash']
    text = ''.join(''.join(o.get('text', o.get('data', {}).get('text/plain', ''))) for o in outputs)
    blocks = [f"```{'sh' if magic else 'python'}\n" + '\n'.join(lines[magic:]).strip() + '\n```']
    return blocks + ([f'```\n{text.rstrip()}\n```'] if text.strip() else [])

def readme(notebook):
    "The README's text for the index notebook at path `notebook`"
    blocks = [NOTE]
    for cell in json.loads(Path(notebook).read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source']).strip()
        if not source or HIDDEN.search(source): continue
        if cell['cell_type'] == 'markdown': blocks.append(TARGET.sub(rf'\1{Path(notebook).parent.name}/', source))
        elif cell['cell_type'] == 'code': blocks += _code(source, cell.get('outputs', []))
    return '\n\n'.join(blocks) + '\n'

if __name__ == '__main__':
    root = Path(__file__).resolve().parent.parent
    (root/'README.md').write_text(readme(root/'nbs'/'index.ipynb'), encoding='utf-8', newline='\n')
    print('README.md written')
