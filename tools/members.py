"""List under each class of a page the methods and properties that have no heading of their own there. nbdev shows a
class and its `__init__`; what else is public stands in the module, with its docstring. Of a callback, whose `__init__`
is fastai's, nbdev shows that it could take each of fastai's events as a function: that is left out, and so is the
notebook's own name before a class. Of a class without an `__init__` of its own, a named tuple, an enumeration or an
error, it shows `(*args, **kwargs)`: in its place stand the bases and the fields, as in the module. Quarto calls this
before rendering, on the notebooks that nbdev prepared in _proc: `pre-render` in _quarto.yml.
"""
import ast
import json
import re
from pathlib import Path

SHOWN = re.compile(r'^show_doc\(\s*([\w.]+)', re.M)
EVENTS = re.compile(r'\(\s*\*, after_create:NoneType=None.*?\n\):', re.S)
ANYTHING = re.compile(r'(?<=```python\n)def (\w+)\(\s*\*args, \*\*kw\w+\s*\):(?=\n```)')
IS_PROPERTY = re.compile(r'\b(property|cached_property)$')

def _signature(f):
    "A method with the names of its parameters, or a property, as a reader types it"
    if any(IS_PROPERTY.search(ast.unparse(d)) for d in f.decorator_list): return f.name
    static = any(ast.unparse(d) == 'staticmethod' for d in f.decorator_list)
    names = [a.arg for a in [*f.args.posonlyargs, *f.args.args][not static:]]
    names += [f'*{f.args.vararg.arg}'] if f.args.vararg else []
    names += [a.arg for a in f.args.kwonlyargs] + ([f'**{f.args.kwarg.arg}'] if f.args.kwarg else [])
    return f"{f.name}({', '.join(names)})"

def fields(source):
    "Of the module `source`: class -> its first line and its fields, with their comments, as they stand there"
    lines, res = source.splitlines(), {}
    for c in ast.parse(source).body:
        if not isinstance(c, ast.ClassDef): continue
        own = [o for o in c.body if isinstance(o, (ast.AnnAssign, ast.Assign))
               and not ast.unparse(getattr(o, 'target', None) or o.targets[0]).startswith('_')]
        bases = ', '.join(map(ast.unparse, c.bases))
        text = [line for o in own for line in lines[o.lineno - 1:o.end_lineno]]
        res[c.name] = '\n'.join([f'class {c.name}({bases}):' if bases else f'class {c.name}:', *(text or ['    ...'])])
    return res

def members(source):
    "Of the module `source`: class -> {name: (signature, first line of its docstring)}, public ones"
    res = {}
    for c in ast.parse(source).body:
        if not isinstance(c, ast.ClassDef): continue
        found = [f for f in c.body if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))]
        res[c.name] = {f.name: (_signature(f), ast.get_docstring(f).splitlines()[0])
                       for f in reversed(found) # of a property the getter, not the setter
                       if not f.name.startswith('_') and ast.get_docstring(f)}
    return {k: dict(reversed(v.items())) for k, v in res.items()}

def _plain(cell, classes):
    "The cell, its output without parameters that are fastai's events, without `__main__`, and with a class's fields"
    def shown(m): return classes.get(m[1], m[0])
    def cut(text): return ANYTHING.sub(shown, EVENTS.sub('():', ''.join(text)).replace('__main__.', ''))
    outputs = [o | dict(data={k: cut(v) if k == 'text/markdown' else v for k, v in o['data'].items()})
               if 'text/markdown' in o.get('data', {}) else o for o in cell.get('outputs', [])]
    return cell | dict(outputs=outputs) if outputs else cell

def with_members(cells, source):
    "The `cells` of a prepared notebook (dicts, `source` a string) with such lists, for the module `source`"
    classes, made, res = members(source), fields(source), []
    shown = {n for c in cells if c['cell_type'] == 'code' for n in SHOWN.findall(c['source'])}
    for i, c in enumerate(cells):
        name = SHOWN.search(c['source']) if c['cell_type'] == 'code' else None
        res.append(_plain(c, made) if name else c)
        rest = [v for k, v in classes.get(name and name[1], {}).items() if f'{name[1]}.{k}' not in shown]
        if rest:
            lines = [f'Also in `{name[1]}`:', ''] + [f'- `{sig}`: {doc}' for sig, doc in rest]
            res.append(dict(cell_type='markdown', id=f'members-{i}', metadata={}, source='\n'.join(lines)))
    return res

def module_of(page, root):
    "The module that the notebook at path `page` below the folder of notebooks documents, or None"
    path = Path(root)/'colorize_nb'/page.parent/(re.sub(r'^\d+_', '', page.stem) + '.py')
    return path if path.exists() else None

if __name__ == '__main__':
    root = Path(__file__).resolve().parent.parent
    here = Path.cwd()
    if here.name != '_proc': raise SystemExit # the sources stay as they are
    for f in sorted(here.rglob('*.ipynb')):
        module, nb = module_of(f.relative_to(here), root), json.loads(f.read_text(encoding='utf-8'))
        if module is None: continue
        own = [c for c in nb['cells'] if not c.get('id', '').startswith('members-')] # none of an earlier call
        cells = [c | dict(source=''.join(c['source'])) for c in own]
        nb['cells'] = with_members(cells, module.read_text(encoding='utf-8'))
        f.write_text(json.dumps(nb, indent=1, ensure_ascii=False), encoding='utf-8', newline='\n')
