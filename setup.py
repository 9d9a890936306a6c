"Give setuptools everything that `settings.ini` says; nothing is written twice."
import re
import sys
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
sys.path.insert(0, str(here/'tools'))
from package_results import copy_results

parser = ConfigParser(delimiters=['='])
parser.read(here/'settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']
statuses = ['1 - Planning', '2 - Pre-Alpha', '3 - Alpha', '4 - Beta', '5 - Production/Stable']

def absolute(readme):
    "The README with links that also work on the package index: relative ones lead to the repository"
    repo = re.search(r'^Repository = "(.+)"', (here/'pyproject.toml').read_text(encoding='utf-8'), re.M)[1]
    readme = re.sub(r'(!\[[^]]*\]\()(?![a-z]+:|#)', rf'\1{repo}/raw/HEAD/', readme)
    return re.sub(r'((?<!!)\[[^][]*\]\()(?![a-z]+:|#)', rf'\1{repo}/blob/HEAD/', readme)

class BuildWithResults(build_py):
    "Also takes what notebooks show of stored runs into the wheel"
    def run(self):
        super().run()
        if not self.editable_mode: copy_results(here, Path(self.build_lib)/'colorize_nb'/'results')

extras = {k.removesuffix('_requirements'): v.split() for k, v in cfg.items() if k.endswith('_requirements')}
extras['all'] = [f"colorize_nb[{','.join(cfg['all_extras'].split())}]"]

setup(
    version=cfg['version'],
    description=cfg['description'],
    long_description=absolute((here/'README.md').read_text(encoding='utf-8')),
    long_description_content_type='text/markdown',
    license_expression=cfg['license'],
    author=cfg['author'],
    keywords=cfg['keywords'].split(),
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(),
    extras_require=extras,
    cmdclass=dict(build_py=BuildWithResults),
    packages=find_packages(include=['colorize_nb', 'colorize_nb.*']),
    include_package_data=False, # exactly what the next line names
    package_data={'colorize_nb': ['py.typed', '*.pyi', 'weights/*/*', 'io/pictures/*', 'train/recipes/*.yaml',
                                  'evaluate/templates/*', 'study/web/*', 'app/web/*']},
    entry_points={'console_scripts': cfg['console_scripts'].split(),
                  'nbdev': ['colorize_nb=colorize_nb._modidx:d']},
    classifiers=[f"Development Status :: {statuses[int(cfg['status']) - 1]}",
                 'Intended Audience :: Developers', 'Intended Audience :: Science/Research',
                 'Programming Language :: Python :: 3 :: Only', 'Topic :: Multimedia :: Graphics',
                 'Topic :: Scientific/Engineering :: Artificial Intelligence'],
)
