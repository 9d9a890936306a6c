"""The models that come with the package: small enough, with a card that says what they are, and better than gray on
photographs that none of them learnt from."""
import json

import numpy as np
import pytest
import torch

from colorize_nb.colorizer.core import Colorizer
from colorize_nb.colorizer.onnx import export_onnx
from colorize_nb.models.lite import lite_generator
from colorize_nb.models.lite_hints import narrow_weights
from colorize_nb.models.registry import find_model, list_models
from colorize_nb.metrics.image import colorfulness, psnr
from colorize_nb.train.recipe import get_recipe
from colorize_nb.io.samples import sample, samples

MODELS = {m['name']: m for m in list_models()}
LARGEST = 16e6 # bytes

def planes(im): return torch.from_numpy(np.array(im.convert('RGB'))).permute(2, 0, 1)[None]

@pytest.fixture(scope='module')
def answers():
    "Truth, gray and each model's answer for the packaged photographs"
    got, colorizers = [], {n: Colorizer.from_pretrained(n, device='cpu') for n in (*MODELS, 'vivid')}
    for f in samples():
        true = sample(f).convert('RGB')
        gray = true.convert('L')
        got.append(dict(truth=planes(true), gray=planes(gray)) | {n: planes(c(gray)) for n, c in colorizers.items()})
    return got

def test_there_is_a_default(): assert {'default', 'small'} <= set(MODELS)

@pytest.mark.parametrize('name', MODELS)
def test_file_and_cards(name):
    path = find_model(name)
    card, text = json.loads((path.parent/'model.json').read_text(
        )), (path.parent/'README.md').read_text(encoding='utf-8')
    assert path.stat().st_size <= LARGEST and card['name'] == name
    recipe = get_recipe(card['recipe'])
    gen = Colorizer.from_pretrained(name).engine.model
    if gen.arch != recipe.arch: # hints and a distribution came later, beside what the recipe trained
        narrow = lite_generator(**gen.more)
        narrow.load_state_dict(narrow_weights(gen.state_dict(), narrow))
        gen = narrow
    assert sum(p.numel()
               for p in gen.parameters()) == recipe.parameters and gen.config['encoder'] == recipe.config['encoder']
    words = (f'# Model card: `{name}`', 'plausible', '**Data**', '**Recipe**', '**Command**',
             f'colorize-nb train {card["recipe"]}', 'Apache-2.0', 'failures',
             f'{path.stat().st_size/1e6:.1f} MB')
    for word in words:
        assert word in text, word
    plain = str.maketrans('', '', '-_')
    assert gen.config['encoder'].translate(plain) in text.lower().translate(plain)

@pytest.mark.parametrize('name', ['default', 'small'])
def test_better_than_gray_on_new_photographs(answers, name):
    "PSNR by scikit-image would be the same; test_evaluate holds ours against it"
    gains = [(psnr(a[name], a['truth']) - psnr(a['gray'], a['truth'])).item() for a in answers]
    share = np.mean([colorfulness(a[name]).item()
                     for a in answers])/np.mean([colorfulness(a['truth']).item() for a in answers])
    print(name, np.round(gains, 2), round(share, 2))
    assert np.mean(gains) > 1 and .4 < share < 1.2

@pytest.mark.parametrize('name', ['paintings', 'flowers'])
def test_a_head_beside_the_colours_changes_none(name):
    "The calm end is what the recipe trained: the chroma head alone, times one"
    c = Colorizer.from_pretrained(name)
    assert c.vivid == 0 and c.meta['vivid']['calm'] == [0, 1, 1] and c.engine.meta['outputs'] == ['ab', 'logits']
    l = np.random.default_rng(0).uniform(0, 100, (1, 64, 96)).astype(np.float32)
    ab, logits = c.engine.answer(l)
    assert logits.shape == (1, 313, 16, 24) and (c.engine.predict(l) == ab).all()
    assert abs(c.engine.predict(l, vivid=1)).mean() > abs(ab).mean()

def test_vivid_is_livelier(answers):
    assert np.mean([(colorfulness(a['vivid']) - colorfulness(a['default'])).item() for a in answers]) > 5

def test_earlier_names_stand_for_the_default(tmp_path, monkeypatch):
    "Whatever lies in the folder where they are asked for"
    (tmp_path/'vivid').mkdir()
    monkeypatch.chdir(tmp_path)
    default, vivid, old = (Colorizer.from_pretrained(n, device='cpu') for n in ('default', 'vivid', 'old-photographs'))
    assert (vivid.vivid, old.vivid) == (1, default.vivid) and 0 < default.vivid < 1

@pytest.mark.slow
def test_an_exported_earlier_name_keeps_its_vividness(tmp_path):
    assert Colorizer.load(export_onnx('vivid', tmp_path/'v.onnx')).vivid == 1
