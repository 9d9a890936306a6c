"""Films on the page: files that are none, films of all kinds, cancelled and taken up again, sound and luma as they
came; in the slow tests a real browser at two sizes."""
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

av = pytest.importorskip('av')
pytest.importorskip('cv2')
from colorize_nb.app.server import create_app # noqa: E402
from colorize_nb.app.sessions import AppLimits # noqa: E402
from colorize_nb.colorizer.core import Colorizer # noqa: E402
from colorize_nb.colorizer.video import colorize_film # noqa: E402
from colorize_nb.io.samples import sample # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
LOCAL = 'http://127.0.0.1:8000'

def pan(n=24, size=(96, 64), name='chelsea'):
    "Grays of a camera that moves over a photograph, two pixels a frame"
    gray = np.asarray(sample(name).convert('L'))
    return [gray[60:60 + size[1], 20 + 2*i:20 + 2*i + size[0]] for i in range(n)]

def write(path, grays, codec='ffv1', sound=0, turn=0, aspect=None, tracks=0, fps=25, **options):
    "A gray film, with `sound` packets of AAC, and so many silent tracks"
    with av.open(str(path), 'w') as c:
        v = c.add_stream(codec, rate=fps, options=options)
        v.height, v.width = grays[0].shape
        v.pix_fmt = 'yuv420p'
        if aspect: v.codec_context.sample_aspect_ratio = aspect
        a = c.add_stream('aac', rate=44100) if sound else None
        silent = [c.add_stream('pcm_s16le', rate=8000, layout='mono') for _ in range(tracks)]
        if turn: v.set_display_matrix([0, -turn*65536, 0, turn*65536, 0, 0, 0, 0, 1 << 30])
        for g in grays: c.mux(v.encode(av.VideoFrame.from_ndarray(g, 'gray').reformat(format='yuv420p')))
        c.mux(v.encode(None))
        for s in silent:
            f = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), 's16', 'mono')
            f.sample_rate, f.pts, f.time_base = 8000, 0, Fraction(1, 8000)
            c.mux(s.encode(f))
        for i in range(sound):
            f = av.AudioFrame.from_ndarray(np.sin(np.arange(1024)[None]*.1*i).astype(np.float32)*.1, 'fltp', 'mono')
            f.sample_rate, f.pts, f.time_base = 44100, 1024*i, Fraction(1, 44100)
            c.mux(a.encode(f))
        if a: c.mux(a.encode(None))
    return Path(path)

@pytest.fixture(scope='module')
def app():
    made = create_app(limits=AppLimits(film=3_000_000, film_pixels=200_000, frames=400, shot=10))
    yield made
    made.state.close()
    assert not made.state.sessions.folder.exists()

@pytest.fixture(scope='module')
def client(app): return TestClient(app, base_url=LOCAL, follow_redirects=False)

def begin(client): return '/s/' + client.post('/s').json()['session']
def upload(client, session, data, name): return client.post(f'{session}/pictures', params=dict(name=name), content=data)

def until(client, one, key, reached=lambda job: job['ended']):
    "Wait for the reading or the saving of a film; its state"
    for _ in range(3000):
        film = client.get(f'{one}/film').json()
        if film[key] and reached(film[key]): return film
        time.sleep(.02)
    raise TimeoutError(film)

def put(client, path, name=None):
    "Upload a film and wait until it is read; its address and its row"
    session = begin(client)
    reply = upload(client, session, path.read_bytes(), name or path.name)
    assert reply.status_code == 201, reply.text
    one = f"{session}/pictures/{reply.json()['id']}"
    return one, reply.json() | dict(film=until(client, one, 'reading'))

def save(client, one):
    "Save a film; the file's bytes"
    reply = client.post(f'{one}/file')
    assert reply.status_code == 202, reply.text
    film = until(client, one, 'saving')
    assert not film['saving']['error'], film
    return client.get(f'{one}/file').content

def packets(data, **which):
    with av.open(BytesIO(data)) as c: return [(bytes(p), p.pts) for p in c.demux(**which) if p.size]

def planes(data, k):
    "Plane `k` of each frame"
    with av.open(BytesIO(data)) as c:
        for f in c.decode(video=0):
            p = f.planes[k]
            yield np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[:p.height, :p.width].copy()

def jpeg(reply):
    assert reply.status_code == 200, reply.text
    return np.asarray(Image.open(BytesIO(reply.content)).convert('RGB')).astype(float)

def hostile(folder):
    "Name and bytes of files that are refused, and a word of why"
    old = write(folder/'old.mp4', pan(), 'libx264', sound=9).read_bytes()
    whole = write(folder/'whole.mkv', pan()).read_bytes()
    with av.open(str(folder/'sound.mp4'), 'w') as c:
        a = c.add_stream('aac', rate=44100)
        for i in range(9):
            f = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), 'fltp', 'mono')
            f.sample_rate, f.pts, f.time_base = 44100, 1024*i, Fraction(1, 44100)
            c.mux(a.encode(f))
        c.mux(a.encode(None))
    picture = BytesIO()
    sample('chelsea').save(picture, 'JPEG')
    huge = write(folder/'huge.mkv', [np.zeros((480, 640), np.uint8)]).read_bytes()
    return {'nothing': ('old.mp4', b'', 'cannot be read as a film'),
            'text': ('old.mkv', b'dear grandmother\n'*99, 'cannot be read as a film'),
            'a list of files': ('old.ts', b'#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n', 'cannot be read as a film'),
            'a concatenation': ('old.mp4', b'ffconcat version 1.0\nfile /etc/passwd\n', 'cannot be read as a film'),
            'a picture': ('old.mp4', picture.getvalue(), 'cannot be read as a film'),
            'a cut film': ('old.mp4', old[:len(old)//2], 'cut off before its index'),
            'the head of a film': ('old.mkv', whole[:700], 'cannot be read|no frame'),
            'sound alone': ('old.mp4', (folder/'sound.mp4').read_bytes(), 'holds no moving picture'),
            'huge frames': ('old.mkv', huge, 'frames of 640x480 pixels'),
            'too many bytes': ('old.mp4', old + bytes(3_000_000), 'at most 3 MB')}

def test_hostile_films(app, client, tmp_path):
    "One sentence, no path, nothing left"
    session = begin(client)
    before = sum(f.is_file() for f in app.state.sessions.folder.rglob('*'))
    for what, (name, data, why) in hostile(tmp_path).items():
        reply = upload(client, session, data, name)
        message = reply.json()['error']
        assert reply.status_code in (413, 415) and re.search(why, message), (what, message)
        assert '\n' not in message and len(message) < 300 and name in message or 'at most' in message, message
        assert str(app.state.sessions.folder) not in message and '/original' not in message, message
    assert client.get(session).json() == dict(pictures=[])
    assert sum(f.is_file() for f in app.state.sessions.folder.rglob('*')) == before

def test_frames_that_grow_in_the_middle(client, tmp_path):
    "A stream whose second half has frames beyond the limit gives its first half, and takes no memory for the rest"
    small = write(tmp_path/'small.h264', pan(8), 'libx264').read_bytes()
    large = write(tmp_path/'large.h264', [np.zeros((720, 1280), np.uint8)]*8, 'libx264').read_bytes()
    (tmp_path/'grows.ts').write_bytes(b'')
    with av.open(BytesIO(small + large), format='h264') as source, av.open(str(tmp_path/'grows.mkv'), 'w') as c:
        v = c.add_stream_from_template(source.streams.video[0])
        for i, p in enumerate(o for o in source.demux(video=0) if o.size):
            p.stream, p.pts, p.dts, p.time_base = v, 40*i, 40*i, Fraction(1, 1000)
            c.mux(p)
    one, row = put(client, tmp_path/'grows.mkv')
    assert (row['width'], row['height']) == (96, 64) and 1 <= row['film']['frames'] <= 8
    assert 'could not be decoded' in row['film']['reading']['notes'][0]

def test_the_whole_path(client, tmp_path):
    "A frame, a hint, the shot, the film: luma bit by bit, sound packet by packet, the hint where it was set"
    grays = pan(12) + pan(12, name='coffee')
    old = write(tmp_path/'Oma.mkv', grays, sound=20, level='3')
    one, row = put(client, old, '../../Oma.mkv')
    assert (row['name'], row['width'], row['height'], row['colored']) == ('Oma.mkv', 96, 64, False)
    film = row['film']
    assert (film['frames'], film['cuts'], film['fps'], film['sound'], film['aspect']) == (24, [0, 12], 25, True, 1)
    full = [g*1. for g in grays]
    for n in (17, 3): # FFmpeg's gray of limited range, as it is shown
        seen = jpeg(client.get(f'{one}/gray', params=dict(frame=n)))[..., 0]
        assert int(np.argmin([np.abs(seen - g).mean() for g in full])) == n
    hint = dict(x=48, y=32, radius=3, rgb=[190, 30, 30], frame=3)
    before = jpeg(client.get(f'{one}/color', params=dict(frame=3)))
    after = jpeg(client.post(f'{one}/color', params=dict(frame=3), json=dict(hints=[hint])))
    redness = [(im[29:36, 45:52, 0] - im[29:36, 45:52, 1]).mean() for im in (before, after)]
    assert redness[1] > redness[0] + 15, redness
    shot = client.post(f'{one}/shot', params=dict(frame=5), json=dict(hints=[hint]))
    assert shot.headers['content-type'] == 'video/webm' and len(list(planes(shot.content, 0))) == 10 # of 12: the limit
    assert client.get(f'{one}/file').status_code == 409
    new = save(client, one)
    assert [p.tobytes() for p in planes(new, 0)] == [p.tobytes() for p in planes(old.read_bytes(), 0)]
    assert packets(new, audio=0) == packets(old.read_bytes(), audio=0)
    cr = [p[14:19, 22:27].mean() for p in planes(new, 2)] # at the place of the hint in its frame
    assert cr[3] > 140 and client.get(f'{one}/file').headers['content-disposition'].endswith('"Oma.mkv"')
    assert client.get(one.rsplit('/pictures', 1)[0]).json()['pictures'][0]['settings']['hints'] == [hint]
    # other settings: the file is of the old ones
    client.post(f'{one}/color', json=dict(steady=.5))
    assert client.get(f'{one}/file').status_code == 409 and not client.get(f'{one}/film').json()['saving']['now']

@pytest.mark.parametrize('turn,aspect', [(1, None), (-1, None), (0, Fraction(2))])
def test_upright_and_in_its_shape(client, tmp_path, turn, aspect):
    "A film that lies on its side stands; pixels that are not square are said"
    grays = pan(6)
    old = write(tmp_path/'side.mp4', grays, 'libx264', turn=turn, aspect=aspect)
    one, row = put(client, old)
    with av.open(str(old)) as c: degrees = round(next(c.decode(video=0)).rotation)
    upright = np.rot90(grays[2], degrees//90)
    assert (row['height'], row['width']) == upright.shape and row['film']['aspect'] == (aspect or 1)
    seen = jpeg(client.get(f'{one}/gray', params=dict(frame=2)))[..., 0]
    assert seen.shape == upright.shape and np.abs(seen - upright).mean() < 6
    shot = next(planes(client.post(f'{one}/shot', json={}).content, 0))
    assert shot.shape == (upright.shape[0], upright.shape[1]*(aspect or 1))

def test_a_hundred_tracks(client, tmp_path):
    old = write(tmp_path/'many.mkv', pan(4), tracks=100)
    one, _ = put(client, old)
    with av.open(BytesIO(save(client, one))) as c: assert len(c.streams) == 101

def test_cut_film_gives_what_it_has(client, tmp_path):
    old = write(tmp_path/'old.mkv', pan(30)).read_bytes()
    (tmp_path/'cut.mkv').write_bytes(old[:len(old)*6//10])
    one, row = put(client, tmp_path/'cut.mkv')
    assert 12 < row['film']['frames'] < 24
    got, want = list(planes(save(client, one), 0)), list(planes(old, 0))
    assert len(got) == row['film']['frames'] and all(np.array_equal(a, b) for a, b in zip(got[:-1], want))

def test_more_frames_than_allowed(client, tmp_path):
    one, row = put(client, write(tmp_path/'long.mkv', [np.zeros((16, 16), np.uint8)]*401))
    assert 'more than 400 frames' in row['film']['reading']['error'] and row['film']['frames'] == 400
    reply = client.post(f'{one}/file')
    assert reply.status_code == 413 and 'more than 400 frames' in reply.json()['error']

def test_wrong_requests_are_a_sentence(client, tmp_path):
    one, _ = put(client, write(tmp_path/'old.mkv', pan(4)))
    hint = dict(x=1, y=1, rgb=[1, 2, 3])
    bad = [client.get(f'{one}/gray', params=dict(frame=n)) for n in ('4', '-1', 'x', '1e9')]
    bad += [client.post(f'{one}/color', json=o) for o in (dict(steady=2), dict(answer=1), dict(hints=[hint]), [],
                                                         dict(hints=[hint | dict(frame=4)]), dict(frame=1))]
    assert [r.status_code for r in bad] == [400]*len(bad), [r.text for r in bad]
    session = begin(client)
    buffer = BytesIO()
    sample('chelsea').convert('L').save(buffer, 'PNG')
    still = f"{session}/pictures/{upload(client, session, buffer.getvalue(), 'cat.png').json()['id']}"
    assert client.get(f'{still}/film').status_code == 404 and client.post(f'{still}/shot', json={}).status_code == 404
    assert client.post(f'{still}/color', json=dict(steady=.5)).status_code == 400

def test_cancelled_and_taken_up_again(client, tmp_path):
    "What is finished stays; the film is the same as one that was never cancelled"
    old = write(tmp_path/'old.mkv', pan(150)*2)
    one, _ = put(client, old)
    assert client.post(f'{one}/file').status_code == 202
    until(client, one, 'saving', lambda job: job['done'] > 245) # a part has 240 frames
    assert client.delete(f'{one}/film').status_code == 200
    film = until(client, one, 'saving')
    assert film['saving']['stopped'] and not film['saving']['error'] and client.get(f'{one}/file').status_code == 409
    client.post(f'{one}/file')
    done = until(client, one, 'saving', lambda job: job['done'])['saving']['done']
    assert done > 240, done
    until(client, one, 'saving')
    colorize_film(old, tmp_path/'new.mkv', Colorizer.from_pretrained('default'))
    assert packets(client.get(f'{one}/file').content) == packets((tmp_path/'new.mkv').read_bytes())

def test_removed_while_it_is_saved(app, client, tmp_path):
    "All files are gone, and the next film is saved"
    old = write(tmp_path/'old.mkv', pan(150)*2)
    one, _ = put(client, old)
    client.post(f'{one}/file')
    until(client, one, 'saving', lambda job: job['done'] > 3)
    folder = app.state.sessions.sessions[one.split('/')[2]].folder
    assert client.delete(one).status_code == 204
    for _ in range(500):
        if not any(f.is_file() for f in folder.rglob('*')): break
        time.sleep(.02)
    assert not any(f.is_file() for f in folder.rglob('*')) and client.get(f'{one}/film').status_code == 404
    other, _ = put(client, write(tmp_path/'other.mkv', pan(4)))
    assert len(list(planes(save(client, other), 0))) == 4

def test_missing_extra_is_named(tmp_path):
    "Without PyAV the page works, and says what films need"
    code = f"""
import sys
sys.modules['av'] = None
from starlette.testclient import TestClient
from colorize_nb.app.server import create_app
app = create_app()
client = TestClient(app, base_url={LOCAL!r})
s = '/s/' + client.post('/s').json()['session']
reply = client.post(f'{{s}}/pictures', params=dict(name='old.mp4'), content=b'film')
print(reply.status_code, reply.json()['error'])
app.state.close()
"""
    done = subprocess.run([sys.executable, '-c', code], env=os.environ | dict(PYTHONPATH=str(ROOT)), text=True,
                          capture_output=True, timeout=120)
    assert done.stdout.startswith('415 old.mp4 is a film') and 'colorize_nb[video]' in done.stdout, done

@contextmanager
def serving():
    "The page, served from here"
    import uvicorn
    app = create_app()
    run = uvicorn.Server(uvicorn.Config(app, port=0, log_level='warning', lifespan='off'))
    thread = threading.Thread(target=run.run, daemon=True)
    thread.start()
    while not run.started: time.sleep(.05)
    try: yield f'http://127.0.0.1:{run.servers[0].sockets[0].getsockname()[1]}/'
    finally:
        run.should_exit = True
        thread.join(30)
        app.state.close()

def shot(page, name):
    "Keep a screenshot, where COLORIZE_NB_SHOTS names a folder"
    if folder := os.environ.get('COLORIZE_NB_SHOTS'): page.screenshot(path=f'{folder}/{name}.png', full_page=True)

def wait_until(page, expression):
    "Wait for something in the page, which forbids the `eval` of playwright's own function"
    for _ in range(600):
        if page.evaluate(expression): return
        page.wait_for_timeout(100)
    raise TimeoutError(expression)

@pytest.mark.slow
@pytest.mark.parametrize('width,height,scheme', [(1280, 900, 'light'), (360, 740, 'dark')])
def test_a_film_in_a_browser(browser, tmp_path, width, height, scheme):
    "Chosen, a frame, a colour by a click, the shot played, saved, found again after a reload"
    grays = pan(20, (320, 200), 'flower') + pan(20, (320, 200), 'china')
    old = write(tmp_path/'visit.mp4', grays, 'libx264', sound=60, fps=18)
    with serving() as url:
        page = browser.new_context(viewport=dict(width=width, height=height), accept_downloads=True,
                                   has_touch=width < 600, color_scheme=scheme).new_page()
        errors = []
        page.on('pageerror', lambda e: errors.append(str(e)))
        page.on('console', lambda m: errors.append(m.text) if m.type == 'error' else None)
        def settle(): wait_until(page, "document.getElementById('color').naturalWidth > 0 && document."
                                       "getElementById('stage').getAttribute('aria-busy') === 'false'")
        page.goto(url)
        page.wait_for_selector('body[data-ready]')
        page.set_input_files('#choose', [str(old)])
        wait_until(page, "document.getElementById('frame-at').max === '39'")
        settle()
        assert '18 frames a second, with sound' in page.text_content('#about')
        page.focus('#frame-at')
        for _ in range(5): page.keyboard.press('ArrowRight')
        wait_until(page, "document.getElementById('frame-value').textContent.startsWith('5 of 39')")
        settle()
        box = page.locator('#stage').bounding_box()
        page.click('#stage', position=dict(x=box['width']*.5, y=box['height']*.5))
        wait_until(page, "document.querySelectorAll('.hint').length === 1")
        page.fill('#own', '#c02020')
        page.dispatch_event('#own', 'change')
        settle()
        shot(page, f'film-frame-{width}')
        page.keyboard.press('Escape')
        page.click('#play-shot')
        wait_until(page, "!document.getElementById('shot').hidden && document.getElementById('shot').videoWidth > 0")
        assert 1 < page.evaluate("document.getElementById('shot').duration") < 1.3 # 20 of 18 a second
        page.evaluate("document.getElementById('shot').pause()")
        shot(page, f'film-shot-{width}')
        def focused(): return page.evaluate('document.activeElement.id')
        assert focused() == 'play-shot' # which rested while the shot was made
        page.click('#play-shot')
        assert page.is_visible('#stage')
        page.click('#shot-after')
        wait_until(page, "document.getElementById('frame-value').textContent.startsWith('20 of 39')")
        settle()
        assert not page.locator('.hint').is_visible() and page.is_disabled('#shot-after')
        assert focused() == 'frame-at' # there is no shot after this one: the slider beside it has the focus
        with page.expect_download() as got: page.click('#download')
        assert got.value.suggested_filename == 'visit.mp4'
        with av.open(got.value.path()) as c: assert (c.streams.video[0].frames, len(c.streams.audio)) == (40, 1)
        shot(page, f'film-saved-{width}')
        with page.expect_download() as points: page.click('#save-points')
        assert points.value.suggested_filename == 'visit.hints.json'
        page.reload()
        page.wait_for_selector('body[data-ready]')
        settle()
        wait_until(page, "document.getElementById('frame-at').max === '39'")
        page.click('#undo', force=True)
        page.click('#reset')
        settle()
        assert page.locator('.hint').count() == 0
        page.set_input_files('#choose', [points.value.path()] if str(points.value.path()).endswith('.json') else [
            dict(name='visit.hints.json', mimeType='application/json', buffer=Path(points.value.path()).read_bytes())])
        wait_until(page, "document.querySelectorAll('.hint').length === 1")
        page.fill('#saturation', '1.5') # or the film that was saved is there at once
        settle()
        page.focus('#download') # by the keyboard: saving is cancelled, and asked for again, and the page loaded anew
        page.keyboard.press('Enter')
        wait_until(page, "!document.getElementById('film-job').hidden")
        assert focused() == 'download' and page.get_attribute('#download', 'aria-disabled') == 'true'
        page.focus('#film-stop')
        page.keyboard.press('Enter')
        wait_until(page, "document.getElementById('status').textContent.startsWith('Saving was cancelled')")
        assert focused() == 'download' and page.get_attribute('#download', 'aria-disabled') == 'false'
        page.keyboard.press('Enter')
        wait_until(page, "!document.getElementById('film-job').hidden")
        with page.expect_download() as again: page.reload()
        with av.open(again.value.path()) as c: assert c.streams.video[0].frames == 40
        wait_until(page, "document.getElementById('status').textContent === 'visit.mp4 is ready.'")
        assert page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'wider than the screen'
        nameless = page.evaluate("""[...document.querySelectorAll('button, input, select, canvas')]
            .filter(e => e.checkVisibility() && !e.textContent.trim() && !e.ariaLabel && !(e.labels && e.labels.length))
            .map(e => e.outerHTML)""")
        assert not nameless and not errors, (nameless, errors)
        page.context.close()
