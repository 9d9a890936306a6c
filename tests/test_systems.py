"The plan of experiments/run_systems.py: what it runs is there, and what the pages show came from it."
import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))
import run_systems
from colorize_nb.cli.app import app, load_commands
from colorize_nb.train.run import recipes
from run_systems import KEPT, PLANS

load_commands()
KNOWN = {o.name: o for o in PLANS}
RUNS = sorted(p.parent.name for p in KEPT.glob('*/run.json'))

def test_plans():
    assert len(KNOWN) == len(PLANS) and {o.recipe for o in PLANS} <= set(recipes())
    assert 'lite' not in KNOWN # that folder is the packaged model's

@pytest.mark.parametrize('name', ['paintings-genre', 'art-vae', 'lite-600'])
def test_commands_are_understood(name):
    o = KNOWN[name]
    with patch('colorize_nb.train.run.run_recipe') as run:
        res = CliRunner().invoke(app, o.command('data', 'out', 96, 2)[1:])
    assert res.exit_code == 0, res.output
    assert run.call_args.args == (o.recipe, f'data/{o.data}', Path('out')/o.name)
    assert {k: run.call_args.kwargs[k] for k in ('size', 'epochs', 'limit', 'bs', 'bf16', 'only')} == dict(size=96, epochs=2*o.epochs, limit=o.limit, bs=o.bs, bf16=o.bf16, only=o.only)

@pytest.mark.parametrize('name', RUNS)
def test_what_is_kept_came_from_its_plan(name):
    kept, run = KEPT/name, json.loads((KEPT/name/'run.json').read_text())
    assert run['command'] == ' '.join(KNOWN[name].command('../shared/data', 'runs', 64, 1)) and run['processor_seconds'] > 0
    info = json.loads((kept/'metrics.json').read_text())
    assert info['recipe'] == KNOWN[name].recipe and info['settings']['data'] == f'../shared/data/{KNOWN[name].data}' and info['size'] == (KNOWN[name].size or 64)
    assert sum(p['epochs'] for p in info['settings']['recipe']['phases']) == len((kept/'history.csv').read_text().splitlines()) - 1 # no epoch is missing
    assert Image.open(kept/'samples.jpg').size == (792, 99)

def test_judged_alike():
    for f in (KEPT/'judged').glob('*.json'):
        d = json.loads(f.read_text())
        assert 'stretched at 64x64' in d['protocol']['pictures'] and d['protocol']['seed'] == 42
        assert set(d['methods']) - {'gray', 'gray, luma', 'mean colour', 'small', 'lite-classification-plain-mean'} <= set(RUNS) and d['failures'] == 0
