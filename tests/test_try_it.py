"""The page "Try it" in a real browser: its colours are Python's, nothing leaves the machine, and hands, keys and small
screens can use it. npm fetches onnxruntime-web once, so this is in the long tier."""
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorize_nb import Colorizer
from colorize_nb.io.samples import gray_sample, sample


ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/'nbs'
sys.path.insert(0, str(ROOT/'tools'))
import try_it

def test_archive_that_is_not_the_reviewed_one(tmp_path):
    (tmp_path/'onnxruntime-web-9.9.9.tgz').write_bytes(b'abc')
    with pytest.raises(try_it.NotFetchedError, match='is not the onnxruntime-web 9.9.9 that was reviewed'):
        try_it.archive(tmp_path, '9.9.9', 'x')
    # SHA-512 of "abc": FIPS 180-4, appendix C.1, in base64
    abc = '3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw=='
    assert try_it.archive(tmp_path, '9.9.9', abc).name == 'onnxruntime-web-9.9.9.tgz'

def test_without_npm(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(try_it.NotFetchedError, match='install Node.js'): try_it.archive(tmp_path/'none')

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The pages `try_it` and `index`, built without Quarto, and what they fetch"
    try: try_it.archive(ROOT/'build'/'npm')
    except try_it.NotFetchedError as e: pytest.skip(str(e))
    project, out = tmp_path_factory.mktemp('project'), tmp_path_factory.mktemp('site')
    for f in ('try_it.ipynb', 'index.ipynb', 'styles.css'):
        (project/'nbs').mkdir(exist_ok=True)
        shutil.copy(NBS/f, project/'nbs')
    for d in ('images', 'try_it'): shutil.copytree(NBS/d, project/'nbs'/d)
    for f in ('pyproject.toml', '_quarto.yml'): shutil.copy(ROOT/f, project)
    done = subprocess.run([sys.executable, str(ROOT/'tools'/'check_docs.py'), '--workers', '0', '--out', str(out)],
                          cwd=project, capture_output=True, text=True, encoding='utf-8') # its links lead to no pages
    assert (out/'try_it'/'ort-wasm-simd-threaded.wasm').exists(), done.stdout + done.stderr
    return out

class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope='module')
def address(site):
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_address[1]}'
    server.shutdown()

def open_page(browser, url, width=1366, height=900, **kw):
    "A tab that keeps errors and requests"
    page = browser.new_context(viewport=dict(width=width, height=height), accept_downloads=True, **kw).new_page()
    page.set_default_timeout(120_000)
    page.errors, page.requests = [], []
    page.on('pageerror', lambda e: page.errors.append(str(e)))
    page.on('console', lambda m: page.errors.append(m.text) if m.type == 'error' else None)
    page.on('request', lambda r: page.requests.append(r))
    page.goto(url)
    return page

def shot(page, name):
    "Keep a screenshot, where COLORIZE_NB_SHOTS names a folder"
    if folder := os.environ.get('COLORIZE_NB_SHOTS'): page.screenshot(path=f'{folder}/{name}.png', full_page=True)

def png(im):
    out = BytesIO()
    im.save(out, 'PNG')
    return out.getvalue()

def give(page, name, data):
    "Choose a file on the page, wait, and take what it saves"
    page.set_input_files('#file', dict(name=name, mimeType='image/png', buffer=data))
    page.wait_for_function(f"document.getElementById('status').textContent.startsWith({name!r})")
    said = page.text_content('#status')
    assert 'coloured in' in said, said
    return saved(page)

def saved(page):
    with page.expect_download() as waiting: page.click('#save')
    im = Image.open(waiting.value.path())
    assert im.text['Description'].startswith('The colours were computed') # Pillow checks the chunk's CRC
    return waiting.value.suggested_filename, im.convert('RGBA')

@pytest.fixture(scope='module')
def page(browser, address):
    page = open_page(browser, f'{address}/try_it.html')
    page.wait_for_selector('#try-it[data-ready]')
    yield page
    assert not page.errors

@pytest.fixture(scope='module')
def colorizer(): return Colorizer.from_pretrained('default')

def odd():
    "A wide strip of an odd size"
    return sample('china').crop((0, 100, 641 - 40, 221)).resize((299, 61))

def sheer():
    "A picture with an alpha of 255 and 0"
    im = sample('chelsea').resize((160, 120)).convert('RGBA')
    im.putalpha(Image.fromarray(np.tile(np.array([255]*80 + [0]*80, np.uint8), (120, 1))))
    return im

def loud():
    "Colours at the edge of what a screen shows, and black and white"
    side = np.indices((96, 128))
    rgb = np.stack([side[0]*255//95, side[1]*255//127, 255 - side[0]*255//95], -1)
    rgb[:, :8], rgb[:, -8:] = 0, 255
    return Image.fromarray(rgb.astype(np.uint8))

PICTURES = dict(
    astronaut=lambda: sample('astronaut'), chelsea=lambda: sample('chelsea'), flower=lambda: sample('flower'),
    rocket=lambda: sample('rocket'), clock=lambda: gray_sample('clock').convert('RGB'), odd=odd, loud=loud,
    tall=lambda: sample('coffee').crop((200, 0, 237, 400)), # shrinks the window at its sides
    large=lambda: sample('flower').resize((2600, 1733)), # chroma is worked out smaller than the picture
    dot=lambda: Image.new('RGB', (1, 1), (90, 90, 90)))

@pytest.mark.slow
@pytest.mark.parametrize('name', PICTURES)
def test_colours_are_those_of_python(page, colorizer, name):
    im = Image.fromarray(np.asarray(PICTURES[name]())) # without its colour profile, of which Chromium takes care
    file, ours = give(page, f'{name}.png', png(im))
    expected = np.asarray(colorizer(im, exact=True).convert('RGB')).astype(int)
    differ = np.abs(np.asarray(ours)[..., :3] - expected)
    assert (file, ours.size) == (f'{name}-colorized.png', im.size)
    # two levels at the chroma head's own colours; the knob multiplies them by 1.2, and contrast is stretched before
    assert differ.max() <= 3 and differ.mean() < .25, (differ.max(), differ.mean())
    # and it is not gray
    if name not in ('dot', 'rocket'): assert np.ptp(np.asarray(ours)[..., :3], -1).mean() > 2

@pytest.mark.slow
@pytest.mark.parametrize('fade', [1, 1/6])
def test_another_model_colours_the_same_picture(browser, address, fade):
    "Chosen when a picture is shown, faded or not; the file says which model it was"
    im = Image.fromarray(np.asarray(sample('chelsea'))).point(lambda v: round(150 + fade*(v - 150)))
    page = open_page(browser, f'{address}/try_it.html')
    page.wait_for_selector('#try-it[data-ready]')
    one = np.asarray(give(page, 'one.png', png(im))[1])[..., :3].astype(int)
    page.select_option('#model', 'paintings')
    page.wait_for_function("document.getElementById('stage').dataset.done === '2'")
    page.wait_for_function("document.getElementById('status').textContent.includes('coloured in')")
    with page.expect_download() as waiting: page.click('#save')
    other = Image.open(waiting.value.path())
    assert 'model paintings' in other.text['Description'] and not page.errors
    expected = np.asarray(Colorizer.from_pretrained('paintings')(im, exact=True).convert('RGB')).astype(int)
    differ = np.abs(np.asarray(other.convert('RGB')) - expected)
    assert differ.max() <= 2 and differ.mean() < .2 and np.abs(one - expected).mean() > 1

@pytest.mark.slow
def test_what_is_transparent_stays_so(page, colorizer):
    im = sheer()
    ours = np.asarray(give(page, 'sheer.png', png(im))[1])
    assert (ours[..., 3] == np.asarray(im)[..., 3]).all()

@pytest.mark.slow
def test_a_jpeg_lies_upright(page, colorizer):
    "A photograph as telephones write it: turned, which EXIF says; Chromium's decoder differs from Pillow's by little"
    im, out = sample('chelsea'), BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6 # to be turned by 90 degrees clockwise
    im.transpose(Image.Transpose.ROTATE_90).save(out, 'JPEG', quality=95, exif=exif)
    ours = np.asarray(give(page, 'turned.jpg', out.getvalue())[1].convert('RGB')).astype(int)
    expected = np.asarray(colorizer(out.getvalue(), exact=True).convert('RGB'))
    assert ours.shape == expected.shape and np.abs(ours - expected).mean() < .5

@pytest.mark.slow
def test_nothing_leaves_the_machine(browser, address):
    "All requests fetch the site's own files, and none comes after the model is there"
    page = open_page(browser, f'{address}/try_it.html')
    give(page, 'one.png', png(sample('chelsea')))
    assert all(r.method == 'GET' and r.url.startswith((address, 'blob:', 'data:')) for r in page.requests)
    for name in 'model.onnx', 'model.safetensors': assert any(r.url.endswith(name) for r in page.requests)
    page.requests.clear()
    page.context.set_offline(True)
    give(page, 'two.png', png(sample('coffee')))
    assert not [r for r in page.requests if not r.url.startswith('blob:')] and not page.errors

@pytest.mark.slow
@pytest.mark.parametrize('width, height, scheme', [(1366, 900, 'light'), (360, 740, 'dark')])
def test_hands_and_keys(browser, address, width, height, scheme):
    "A sample by the keyboard or by touch, the line, the strength; what is no picture; the page fits its screen"
    touch = width < 600
    page = open_page(browser, f'{address}/try_it.html', width, height, has_touch=touch, color_scheme=scheme)
    page.wait_for_selector('#try-it[data-ready]')
    button = page.get_by_role('button', name='A man with a fur hat')
    if touch: button.tap()
    else:
        button.focus()
        page.keyboard.press('Enter')
    page.wait_for_selector('#stage[data-done]')
    page.wait_for_function("document.getElementById('status').textContent.includes('coloured in')")
    line = page.get_by_role('slider', name='Left of here gray')
    line.focus()
    page.keyboard.press('Home')
    assert page.evaluate("document.querySelector('#stage .compare').style.getPropertyValue('--cut')") == '0%'
    box = line.bounding_box()
    if touch: page.touchscreen.tap(box['x'] + box['width']*.75, box['y'] + box['height']/2)
    else: page.mouse.click(box['x'] + box['width']*.75, box['y'] + box['height']/2)
    assert abs(int(line.input_value()) - 75) <= 2
    shot(page, f'try-it-{width}')
    strength = page.get_by_label('Strength of the colours')
    strength.focus()
    page.keyboard.press('Home') # no colour at all
    page.wait_for_selector('#stage[data-done]')
    file, gray = saved(page)
    assert file == '00106-colorized.png' and page.text_content('#strength-value') == '0 %'
    assert np.ptp(np.asarray(gray)[..., :3].astype(int), -1).max() <= 1
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    ground = page.evaluate('getComputedStyle(document.body).backgroundColor')
    assert (ground == 'rgb(255, 255, 255)') == (scheme == 'light')
    page.set_input_files('#file', dict(name='note.txt', mimeType='text/plain', buffer=b'dear grandmother'))
    page.wait_for_function("document.getElementById('status').textContent.includes('cannot read it')")
    assert page.is_visible('#stage') # the last picture stays
    page.locator('#try-it').press('Tab')
    assert not page.errors

@pytest.mark.slow
def test_slider_of_the_home_page(browser, address):
    page = open_page(browser, f'{address}/index.html', 360, 740)
    line = page.get_by_role('slider')
    line.focus()
    page.keyboard.press('ArrowRight')
    assert page.evaluate("document.querySelector('.compare').style.getPropertyValue('--cut')") == '51%'
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    shot(page, 'home-360')
    assert not page.errors

def test_plate_of_the_home_page_is_what_the_model_makes(colorizer):
    "The stored picture is `default`'s: all that differs is the JPEG"
    plates = NBS/'images'/'plates'
    stored = np.asarray(Image.open(plates/'00106_colorized.jpg')).astype(float)
    made = np.asarray(colorizer(plates/'00106.jpg').convert('RGB'))
    assert ((stored - made)**2).mean() < 255**2/10**3.3 # 33 dB
