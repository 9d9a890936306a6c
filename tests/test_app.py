"""The page in the browser and its API: hostile uploads, limits, tokens, what is written; in the slow tests a server
that is killed, and a real browser at two sizes."""
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import ZipFile

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import color as skcolor
from starlette.testclient import TestClient

from colorize_nb.app.server import create_app
from colorize_nb.app.sessions import AppLimits
from colorize_nb.color.grid import grid_colors, mean_color
from colorize_nb.colorizer.batch import colorize_files
from colorize_nb.colorizer.core import Colorizer
from colorize_nb.colorizer.hints import Hint, Hints
from colorize_nb.io.read import open_picture
from colorize_nb.io.samples import sample

ROOT = Path(__file__).resolve().parent.parent
ENV = {'PYTHONPATH': str(ROOT), 'PYTHONUTF8': '1', 'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'}
LOCAL = 'http://127.0.0.1:8000'

def file_of(im, format='PNG', **kw):
    "The bytes of an image's file"
    out = BytesIO()
    im.save(out, format, **kw)
    return out.getvalue()

CAT = sample('chelsea').convert('L').resize((225, 150))
PNG, JPEG = file_of(CAT), file_of(CAT, 'JPEG', quality=90)

@pytest.fixture(scope='module')
def app():
    made = create_app(limits=AppLimits(upload=2_000_000, pixels=1_000_000, pages=3))
    yield made
    made.state.close()
    assert not made.state.sessions.folder.exists()

@pytest.fixture(scope='module')
def client(app): return TestClient(app, base_url=LOCAL, follow_redirects=False)

def begin(client): return '/s/' + client.post('/s').json()['session']
def upload(client, session, data, name): return client.post(f'{session}/pictures', params=dict(name=name), content=data)
def api(client, data, name='cat.png', **fields):
    return client.post('/api/colorize', files=dict(picture=(name, data)), data=fields)

def files_below(folder): return [f for f in folder.rglob('*') if f.is_file()]

HOSTILE = {
    'an EPS that is named .jpg': (b'%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run\n', 'old.jpg', 415),
    'text': (b'dear grandmother\n'*100, 'old.png', 415),
    'nothing': (b'', 'old.png', 415),
    'a page': (b'<!doctype html><script>alert(1)</script>', 'old.png', 415),
    'a drawing': (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', 'old.svg', 415),
    'a cut JPEG': (file_of(sample('chelsea'), 'JPEG')[:4000], 'old.jpg', 415),
    'half a PNG': (PNG[:len(PNG)//2], 'old.png', 415),
    'too many bytes': (b'\xff\xd8' + b'x'*2_100_000, 'old.jpg', 413),
    'too many pixels': (file_of(Image.new('1', (2000, 2000))), 'old.png', 413),
    'too many pixels on the second page': (file_of(Image.new('1', (9, 9)), 'TIFF', save_all=True,
                                                   append_images=[Image.new('1', (2000, 2000))]), 'old.tif', 413),
    'too many pages': (file_of(Image.new('L', (9, 9)), 'TIFF', save_all=True, append_images=[Image.new('L', (9, 9))]*3),
                       'old.tif', 413),
}

@pytest.mark.parametrize('what', HOSTILE)
def test_hostile_files(app, client, what):
    "One sentence, no path, nothing left; by the page and by the API"
    data, name, status = HOSTILE[what]
    session = begin(client)
    before = len(files_below(app.state.sessions.folder))
    for reply in upload(client, session, data, name), api(client, data, name):
        assert reply.status_code == status, reply.text
        message = reply.json()['error']
        assert '\n' not in message and str(app.state.sessions.folder) not in message and len(message) < 300
        assert reply.headers['content-type'] == 'application/json'
    assert client.get(session).json() == dict(pictures=[])
    assert len(files_below(app.state.sessions.folder)) == before

def check_reply(reply, what, *codes):
    "Coloured, or refused in a sentence that names no folder"
    assert reply.status_code in codes, (what, reply.status_code, reply.text[:300])
    if reply.status_code <= 201: return
    message = reply.json()['error']
    assert 0 < len(message) < 500 and '\n' not in message and tempfile.gettempdir() not in message, (what, message)

def send_broken(client, first, count):
    "Send broken files of every kind, by the API and by the page; what comes back is a picture of the size that came"
    from random import Random

    from fuzz_io import broken, seeds
    files, codes, session = seeds(), Counter(), begin(client)
    for i in range(first, first + count):
        name, data = broken(Random(i), files)
        coloured, kept = api(client, data, f'{name}.jpg'), upload(client, session, data, f'{name}.png')
        for r in coloured, kept:
            codes[r.status_code] += 1
            check_reply(r, (i, name), 200, 201, 413, 415, 422)
        if coloured.status_code == 200:
            size = open_picture(data).size # or turned: seed 1064 breaks XMP's own name space of orientations
            assert open_picture(coloured.content).size in (size, size[::-1]), (i, name)
        if kept.status_code == 201: assert client.delete(f"{session}/pictures/{kept.json()['id']}").status_code == 204
    assert client.get(session).json() == dict(pictures=[])
    return codes

def send_odd_fields(client, first, count):
    "Send hints and settings with something odd in one place"
    import json
    from random import Random

    from fuzz_files import ODD, replaced
    good, codes = dict(format=1, size=[225, 150], hints=[dict(x=1, y=2, radius=2, rgb=[9, 99, 200])]), Counter()
    others = 'model', 'vivid', 'saturation', 'size', 'answer', 'force', 'format'
    for i in range(first, first + count):
        rng = Random(i)
        for fields in dict(hints=json.dumps(replaced(rng, good))), {rng.choice(others): str(rng.choice(ODD))}:
            reply = api(client, PNG, **fields)
            codes[reply.status_code] += 1
            check_reply(reply, (i, fields), 200, 400)
    return codes

def send_broken_forms(client, first, count):
    "Send forms whose bytes are broken"
    from random import Random

    from fuzz_io import broken
    edge, codes = 'edge-of-a-part', Counter()
    body = (f'--{edge}\r\ncontent-disposition: form-data; name="saturation"\r\n\r\n1.2\r\n'
            f'--{edge}\r\ncontent-disposition: form-data; name="picture"; filename="cat.png"\r\n'
            'content-type: image/png\r\n\r\n').encode() + PNG + f'\r\n--{edge}--\r\n'.encode()
    for i in range(first, first + count):
        _, data = broken(Random(i), dict(form=body))
        headers = {'content-type': f'multipart/form-data; boundary={edge}'}
        reply = client.post('/api/colorize', content=data, headers=headers)
        codes[reply.status_code] += 1
        check_reply(reply, i, 200, 400, 413, 415)
    return codes

def test_some_broken_files(app, client):
    before = len(files_below(app.state.sessions.folder))
    assert send_broken(client, 0, 60)[415] and send_broken_forms(client, 0, 20)[400]
    assert len(files_below(app.state.sessions.folder)) == before

def test_some_odd_fields(app, client):
    pytest.importorskip('resource', reason='fuzz_files needs it')
    before = len(files_below(app.state.sessions.folder))
    assert send_odd_fields(client, 0, 20)[400]
    assert len(files_below(app.state.sessions.folder)) == before

def test_a_result_that_cannot_be_written(app, client):
    "WebP has at most 16,383 pixels a side: one sentence, which names no folder"
    reply = api(client, file_of(Image.new('L', (17_000, 2), 90)), 'wide.webp')
    assert reply.status_code == 422 and 'wide.webp' in reply.json()['error'], reply.text[:300]
    check_reply(reply, 'wide', 422)

def test_every_field_says_what_it_takes(client):
    "Each field that OpenAPI describes, a little outside and of another kind: what came, what is taken, what to do"
    import json
    form = client.get('/api/openapi.json').json()['paths']['/api/colorize']['post']['requestBody']['content']
    fields = form['multipart/form-data']['schema']['properties']
    point, wrong = dict(x=1, y=2, radius=2, rgb=[9, 99, 200]), {
        'model': ['nothing', '/etc/passwd'], 'force': ['yes', '2'], 'format': ['exe', 'PNG'], 'hints': ['blue', '3']}
    for name, field in fields.items():
        if field['type' if 'type' in field else 'enum'] not in ('number', 'integer'): continue
        low, high = field['minimum'], field['maximum']
        wrong[name] = [low - 1, high + 1, 'high', 'nan', '1e999', '']
        if field['type'] == 'integer': wrong[name].append(low + .5)
    assert set(wrong) == set(fields) - {'picture'}
    bad = [(name, str(v), v) for name, values in wrong.items() for v in values]
    # of a point: the cat has 225x150 pixels
    bad += [('hints', '{"format": 2}', ('format', 2))] + [('hints', json.dumps([point | {k: v}]), (k, v)) for k, v in [
        ('x', -1), ('x', 225), ('y', 150), ('y', '7'), ('radius', -1), ('radius', 1001), ('rgb', [1, 2]),
        ('rgb', [1, 2, 256]), ('rgb', 'red'), ('x', True)]]
    for name, sent, came in bad:
        reply = api(client, PNG, **{name: sent})
        check_reply(reply, (name, sent), 400)
        message, (key, value) = reply.json()['error'], came if isinstance(came, tuple) else (name, came)
        assert key in message, (name, sent, message) # which field
        assert str(value)[:20] in message or sent == '1e999', (name, sent, message) # what came
        what, _, todo = message.partition(': ')
        assert len(todo) > 5 and 'Input' not in message, (name, sent, message) # what to do
        if name in fields and 'maximum' in fields[name] and isinstance(value, (int, float)) and value == int(value):
            assert f"{fields[name]['minimum']} to {fields[name]['maximum']}" in message, message
    session = begin(client)
    one = f"{session}/pictures/{upload(client, session, PNG, 'cat.png').json()['id']}"
    for path, words in [('suggest?x=1', 'give its x and y'), ('suggest?x=225&y=0', 'x from 0 to 224, got 225.0: '),
                        ('suggest?x=1&y=nan', 'y from 0 to 149, got nan: '), ('suggest?x=left&y=0', "got 'left': "),
                        ('color?side=wide', "side as a whole number, got 'wide': ")]:
        reply = client.get(f'{one}/{path}')
        assert reply.status_code == 400 and words in reply.json()['error'], reply.text
    reply = client.post(f'{one}/color', content=b'saturation=1')
    assert reply.status_code == 400 and "settings as JSON, got 'saturation=1': " in reply.json()['error']

@pytest.mark.parametrize('size', [3, None, '\n', True, '225x150', [225], [150, 225], {}, [[225, 150]]])
def test_hints_of_another_size(client, size):
    import json
    reply = api(client, PNG, hints=json.dumps(dict(format=1, size=size, hints=[])))
    assert reply.status_code == 400 and 'of the size' in reply.json()['error']
    check_reply(reply, size, 400)

@pytest.mark.parametrize('name,kept', [
    ('../../../etc/cron.d/x.png', 'x.png'), ('..\\..\\x.png', 'x.png'), ('/etc/passwd', 'passwd.png'),
    ('.', 'picture.png'),
    ('a\0b\r\nset-cookie: x.png', 'a_b__set-cookie_ x.png'), ('x'*5000 + '.png', 'x'*120 + '.png'),
    ('con.png', '_con.png'), ('<img src=x>.png', '_img src=x_.png'),
    ('*.png', '_.png'), ('-rf.png', '-rf.png'), ('http://x/y.png', 'y.png')])
def test_path_tricks_in_names(app, client, name, kept):
    session = begin(client)
    p = upload(client, session, PNG, name).json()
    got = client.get(f"{session}/pictures/{p['id']}/file")
    assert got.status_code == 200 and 'set-cookie' not in got.headers
    with ZipFile(BytesIO(client.get(f'{session}/all.zip').content)) as z: assert z.namelist() == [kept]
    assert all(f.is_relative_to(app.state.sessions.folder) for f in files_below(app.state.sessions.folder))

def tilted():
    "A JPEG that lies on its side, with a date"
    exif = Image.Exif()
    exif[0x112], exif[0x132] = 6, '1910:05:01 12:00:00'
    return file_of(CAT, 'JPEG', quality=90, exif=exif, dpi=(600, 600))

def deep(im=CAT):
    "A TIFF of 16 bits"
    out, kind = BytesIO(), 'minisblack' if im.mode == 'L' else 'rgb'
    tifffile.imwrite(out, np.asarray(im).astype(np.uint16)*257, photometric=kind)
    return out.getvalue()

def scanned(kind):
    "A TIFF as scanners and their programs write it, which Pillow alone does not open"
    out, gray = BytesIO(), np.asarray(CAT)
    more = dict(planarconfig='contig', metadata=None)
    if kind == 'float': tifffile.imwrite(out, np.dstack([gray/np.float32(255)]*3), photometric='rgb', **more)
    else:
        second = np.full(gray.shape, 900 if kind == 'unspecified' else 65535, np.uint16)
        tifffile.imwrite(out, np.dstack([gray.astype(np.uint16)*257, second]), photometric='minisblack',
                         extrasamples=[kind], **more)
    return out.getvalue()

@pytest.mark.parametrize('name,data', [('cat.png', PNG), ('tilted.jpg', tilted()), ('deep.tif', deep()),
                                       ('deep_colours.tif', deep(sample('chelsea'))),
                                       ('infrared.tif', scanned('unspecified')),
                                       ('premultiplied.tif', scanned('assocalpha')), ('float.tif', scanned('float')),
                                       ('cat.gif', file_of(CAT, 'GIF')),
                                       ('own.jpg', file_of(sample('chelsea'), 'JPEG'))])
def test_the_same_bytes_as_the_command(client, tmp_path, name, data):
    "Format, bits and metadata: the page, the API and `colorize_files`, which is behind the command, write one file"
    (tmp_path/name).write_bytes(data)
    result, = colorize_files([tmp_path/name], tmp_path/'out', Colorizer.from_pretrained('default'), saturation=1.2)
    expected, session = result.target.read_bytes(), begin(client)
    p = upload(client, session, data, name).json()
    one = f"{session}/pictures/{p['id']}"
    assert client.post(f'{one}/color', json=dict(saturation=1.2)).status_code == 200
    got = client.get(f'{one}/file')
    assert got.content == expected and f'filename="{result.target.name}"' in got.headers['content-disposition']
    assert api(client, data, name, saturation='1.2').content == expected

def test_what_is_kept_between_clicks_changes_no_preview(tmp_path):
    "Two pictures are clicked in turn, points come and go, saturation and size change: as if each were asked for first"
    from colorize_nb.app.sessions import StoredPicture
    from colorize_nb.app.work import Models, Previews, Settings, inspect_picture
    def stored(name, size):
        (tmp_path/name/'original').mkdir(parents=True)
        CAT.resize(size).save(tmp_path/name/'original'/'cat.png')
        return inspect_picture(StoredPicture(name, tmp_path/name/'original'/'cat.png'), AppLimits())
    wide, high = stored('wide', (1300, 500)), stored('high', (333, 444))
    models = Models()
    previews = Previews(models)
    red, blue = (dict(x=x, y=200, radius=9, rgb=rgb) for x, rgb in ((90, [180, 40, 40]), (250, [40, 60, 180])))
    moved = [Settings(), Settings(hints=(red,)), Settings(hints=(red, blue)), Settings(hints=(blue,), saturation=1.5),
             Settings(hints=(blue | dict(x=120),), size=96), Settings(saturation=.3), Settings()]
    shown = [[previews(p, s, side) for p in (wide, high)] for s in moved for side in (1024, 301)]
    fresh = [[Previews(models)(p, s, side) for p in (wide, high)] for s in moved for side in (1024, 301)]
    assert shown == fresh and len({data for pair in shown for data in pair}) == 4*len(moved) - 4 # the last is the first
    # and what is shown is what will be saved, as far as a JPEG of half the chroma can say it
    for p, data in zip((wide, high), shown[2]):
        hints = Hints((p.width, p.height), [Hint(**red | dict(rgb=tuple(red['rgb'])))])
        im = Image.open(BytesIO(data))
        saved = np.asarray(models()(p.path, hints=hints).resize(im.size, Image.Resampling.BOX), float)
        assert np.abs(np.asarray(im.convert('RGB'), float) - saved).mean() < 2.5

def test_a_second_tab_and_what_is_removed(app, client):
    mine, other = begin(client), begin(client)
    p = upload(client, mine, PNG, 'cat.png').json()
    one = f"/pictures/{p['id']}"
    for path in f'{other}{one}/gray', f'{other}{one}/file', f'{mine[:-1]}/pictures', f'/s/{p["id"]}':
        assert client.get(path).status_code in (404, 405)
    assert client.get(mine).json()['pictures'] == [p] # a reload finds it
    assert client.delete(mine + one).status_code == 204
    assert client.get(mine).json() == dict(pictures=[]) and client.get(mine + one + '/gray').status_code == 404
    upload(client, mine, PNG, 'cat.png')
    assert client.delete(mine).status_code == 204 and client.get(mine).json() == dict(pictures=[])
    assert not files_below(app.state.sessions.get(mine[3:]).folder)

def test_no_file_of_this_machine(client):
    session = begin(client)
    for path in ['/web/../sessions.py', '/web/%2e%2e%2fsessions.py', '/web/..%5csessions.py', '/web//etc/passwd',
                 '/etc/passwd', f'{session}/../../etc/passwd',
                 f'{session}/pictures/..%2f..%2f..%2fetc%2fpasswd/file', '/.git/config']:
        assert client.get(path).status_code in (404, 405), path
    for field in 'model=/etc/passwd', 'model=../default', 'hints=/etc/passwd', 'size=/etc/passwd':
        reply = api(client, PNG, **dict([field.split('=')]))
        assert reply.status_code == 400 and 'root:' not in reply.text
    assert client.post('/api/colorize', data=dict(picture='/etc/passwd')).status_code == 400

def test_others_are_refused(client):
    for headers in ({'host': 'evil.example'}, {'host': '127.0.0.1.evil.example'}, {'origin': 'http://evil.example'},
                    {'sec-fetch-site': 'cross-site'}, {'sec-fetch-site': 'same-site'}, {'origin': 'null'}):
        assert client.post('/s', headers=headers).status_code == 403, headers
        assert client.post('/api/colorize', headers=headers, files=dict(picture=('x.png', PNG))).status_code == 403
    assert client.get('/', headers={'host': 'evil.example'}).status_code == 403
    policy = client.get('/').headers['content-security-policy']
    assert "default-src 'none'" in policy and 'unsafe' not in policy and '*' not in policy

def test_every_text_of_the_pages_is_in_one_place():
    "Each key that a page or its script asks for is in texts.js, and none there is left over"
    web = ROOT/'colorize_nb'/'app'/'web'
    texts = (web/'texts.js').read_text(encoding='utf-8')
    keys = set(re.findall(r"^    (\w+): '", texts, re.M))
    pages = ''.join((web/f).read_text(encoding='utf-8') for f in ('index.html', 'login.html'))
    script = ''.join((web/f).read_text(encoding='utf-8') for f in ('app.js', 'films.js'))
    asked = set(re.findall(r'data-text="(\w+)"', pages)) | set(re.findall(r"\b(?:text|tell|progress)\('(\w+)'", script))
    assert len(keys) > 60 and asked <= keys, asked - keys
    known = {o for o in keys - asked if re.search(rf"'{o}'", script)} | {'tokenWrong'} # chosen by a condition
    assert keys - asked == known, keys - asked - known

def test_token():
    app = create_app(token='0123456789abcdef')
    try:
        def visitor(): return TestClient(app, base_url='http://colours.example', follow_redirects=False)
        stranger, guest = visitor(), visitor()
        assert 'app.js' not in stranger.get('/').text and stranger.get('/healthz').status_code == 200
        assert stranger.post('/s').status_code == api(stranger, PNG).status_code == 401
        assert guest.post('/login', data=dict(token='0123456789abcdef')).status_code == 303
        session = begin(guest)
        assert guest.get(session).status_code == 200 and stranger.get(session).status_code == 401
        bearer = dict(authorization='Bearer 0123456789abcdef')
        assert stranger.post('/s', headers=bearer).status_code == 201
        codes = [stranger.post('/login', data=dict(token=f'guess {i}')).status_code for i in range(12)]
        assert codes == [403]*10 + [429]*2
        assert guest.get(session).status_code == 200 # has it already
    finally: app.state.close()

def test_the_queue_is_bounded(monkeypatch):
    "One works, one waits, the third is told to come back; then there is room again"
    import colorize_nb.app.server as server
    go, begun, write = threading.Event(), threading.Semaphore(0), server.write_result
    def slow(*args):
        begun.release()
        assert go.wait(60)
        return write(*args)
    monkeypatch.setattr(server, 'write_result', slow)
    app = create_app(limits=AppLimits(workers=1, waiting=1))
    try:
        with TestClient(app, base_url=LOCAL) as c, ThreadPoolExecutor(2) as pool: # one event loop for all
            replies = [pool.submit(api, c, PNG) for _ in range(2)]
            assert begun.acquire(timeout=60)
            site = app.state.close.__self__
            for _ in range(1200): # a third that came before the second would wait in its place
                if site.coming == 2: break
                time.sleep(.05)
            reply = api(c, b'not even read')
            assert reply.status_code == 429 and reply.headers['retry-after'] and 'try again' in reply.json()['error']
            go.set()
            assert [r.result().status_code for r in replies] == [200, 200]
            assert api(c, PNG).status_code == 200
    finally: app.state.close()

def test_room_runs_without_torch(tmp_path):
    "With the core and the extra `app` alone: a picture goes through the API, and nothing is left, nor kept to be sent"
    code = f'''import sys
for o in ['torch', 'fastai', 'fastcore', 'fasthtml', 'matplotlib', 'pandas', 'skimage', 'scipy']: sys.modules[o] = None
from starlette.testclient import TestClient
from colorize_nb.app.server import create_app
app = create_app()
client = TestClient(app, base_url={LOCAL!r})
models = [m['name'] for m in client.get('/api/models').json()]
r = client.post('/api/colorize', files=dict(picture=('cat.png', bytes.fromhex({PNG.hex()!r}))))
app.state.close()
print(models, r.status_code, r.headers['content-type'])'''
    own = dict(HOME=str(tmp_path), TMPDIR=str(tmp_path)) # ONNX Runtime 1.32 keeps there what it tells its maker
    own |= {k: v for k, v in os.environ.items() if k != 'ORT_DISABLE_TELEMETRY' and k not in own}
    done = subprocess.run([sys.executable, '-c', code], env=own | ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
    assert done.stdout.split()[-2:] == ['200', 'image/png'] and "'default'" in done.stdout

# A server that is killed, and a browser

class Server:
    "`colorize-nb app` as a process, which can be killed and started again at the same port; or a program of its own"
    def __init__(self, *args, code=None):
        self.args, self.code, self.port = args, code, 0
        self.start()

    def start(self):
        cmd = [sys.executable, '-m', 'colorize_nb', 'app', '--no-browser', '--port', str(self.port), *self.args]
        if self.code: cmd = [sys.executable, '-c', self.code]
        self.run = subprocess.Popen(cmd, env=os.environ | ENV, stderr=subprocess.PIPE, text=True, encoding='utf-8')
        found = re.search(r'http://127\.0\.0\.1:\d+/', line := self.run.stderr.readline())
        assert found, line + self.run.stderr.read()
        self.url, self.port = found[0], urlsplit(found[0]).port
        self.said = []
        threading.Thread(target=lambda err: self.said.extend(err), args=[self.run.stderr], daemon=True).start()

    def stop(self, kill=False):
        self.run.kill() if kill else self.run.terminate()
        return self.run.wait(30)

@pytest.mark.slow
def test_thirty_clients_and_a_server_that_dies(tmp_path):
    "Each gets its picture in the end, though some are told to wait, and the server is killed meanwhile"
    import httpx
    server, codes = Server(), Counter()
    pictures = [file_of(CAT.rotate(12*i)) for i in range(30)]
    def insist(data):
        for _ in range(600):
            try: r = httpx.post(f'{server.url}api/colorize', files=dict(picture=('cat.png', data)), timeout=120)
            except httpx.HTTPError:
                codes['died'] += 1
                time.sleep(.2)
                continue
            codes[r.status_code] += 1
            if r.status_code == 200: return r.content
            assert r.status_code in (429, 503), r.text
            time.sleep(.2)
    try:
        with ThreadPoolExecutor(30) as pool:
            replies = [pool.submit(insist, data) for data in pictures]
            while not codes[200]: time.sleep(.02)
            server.stop(kill=True)
            server.start()
            replies = [r.result() for r in replies]
        assert codes['died'] and all(np.asarray(Image.open(BytesIO(r))).shape == (150, 225, 3) for r in replies)
        c = Colorizer.from_pretrained('default')
        (tmp_path/'cat.png').write_bytes(pictures[7])
        result, = colorize_files([tmp_path/'cat.png'], tmp_path/'out', c)
        assert replies[7] == result.target.read_bytes()
    finally: server.stop()
    assert not [o for o in server.said if 'Traceback' in o], server.said

STRICT = """import sys
from colorize_nb.app.server import serve_app
from colorize_nb.app.sessions import AppLimits
def ready(url): print(url, file=sys.stderr, flush=True)
serve_app(port=0, limits=AppLimits(upload=2_000_000, pixels=20_000_000, seconds=30), ready=ready)"""

def peak_memory(server):
    "Megabytes that a process had at most"
    lines = Path(f'/proc/{server.run.pid}/status').read_text().splitlines()
    return int(next(o for o in lines if o.startswith('VmHWM')).split()[1])//1024

@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='only Linux tells how much memory a process had')
def test_the_whole_hostile_set(capsys):
    "1,500 broken files, odd fields and broken forms: each time a picture or a sentence, and the server lives on"
    import httpx
    server = Server(code=STRICT)
    try:
        with httpx.Client(base_url=server.url, timeout=60) as c: # nothing takes longer
            codes = send_broken(c, 1000, 1500) + send_odd_fields(c, 100, 300) + send_broken_forms(c, 100, 300)
            assert c.get('/healthz').json()['status'] == 'ok' and api(c, PNG).status_code == 200
            peak = peak_memory(server)
    finally: server.stop()
    with capsys.disabled(): print(f'\npeak memory {peak} MB, answers {dict(codes)}')
    assert codes[200] and codes[400] and codes[415] and not [o for o in server.said if 'Traceback' in o], server.said
    assert peak < 1000 # 20 megapixels in two threads

PATIENT = """import sys
from colorize_nb.app.server import serve_app
from colorize_nb.app.sessions import AppLimits
def ready(url): print(url, file=sys.stderr, flush=True)
serve_app(port=0, limits=AppLimits(seconds=3600), ready=ready)"""

@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='only Linux tells how much memory a process had')
def test_a_hundred_megapixels(capsys, monkeypatch):
    "A TIFF of 10,000 by 10,000 pixels through the page and the API: one file, and the lightness of the original"
    import httpx
    l = np.add.outer(np.arange(10_000, dtype=np.uint16), np.arange(10_000, dtype=np.uint16))//79
    out, server, peaks = BytesIO(), Server(code=PATIENT), {}
    tifffile.imwrite(out, l.astype(np.uint8), photometric='minisblack', compression='zlib', rowsperstrip=64)
    def peak(): return peak_memory(server)
    try:
        with httpx.Client(base_url=server.url, timeout=3600) as c:
            peaks['begin'], session = peak(), begin(c)
            p = c.post(f'{session}/pictures', params=dict(name='map.tif'), content=out.getvalue()).json()
            peaks['upload'], one = peak(), f"{session}/pictures/{p['id']}"
            preview = Image.open(BytesIO(c.post(f'{one}/color', json={}).content))
            page = c.get(f'{one}/file')
            peaks['file'], reply = peak(), api(c, out.getvalue(), 'map.tif')
            peaks['API'] = peak()
    finally: server.stop()
    with capsys.disabled(): print('\npeak memory, MB:', peaks)
    assert preview.size == (1024, 1024) and reply.status_code == page.status_code == 200, reply.text[:300]
    assert page.content == reply.content and not [o for o in server.said if 'Traceback' in o]
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
    new = np.asarray(Image.open(BytesIO(reply.content)))
    assert new.shape == (10_000, 10_000, 3) and new.dtype == np.uint8
    at = np.random.default_rng(0).integers(0, 10_000, (500, 2))
    def lightness(rgb): return skcolor.rgb2lab(rgb/255)[:, 0] # (500,3) sRGB
    gray, colour = (lightness(o) for o in (np.repeat(l[at[:, 0], at[:, 1]][:, None], 3, 1), new[at[:, 0], at[:, 1]]))
    assert np.abs(gray - colour).max() < 1.5 # a step of gray is .4 of L*, and colours are rounded
    assert peaks['API'] < 2000 # the gray has 100, the colours have 300; 1000 were seen

@pytest.fixture(scope='module')
def served():
    server = Server()
    yield server
    server.stop()
    assert not [o for o in server.said if 'Traceback' in o], server.said

def open_page(browser, url, width, height, **kw):
    "A tab that listens for errors"
    page = browser.new_context(viewport=dict(width=width, height=height), accept_downloads=True, **kw).new_page()
    page.set_default_timeout(60_000)
    page.errors = []
    page.on('pageerror', lambda e: page.errors.append(str(e)))
    page.on('console', lambda m: page.errors.append(m.text) if m.type == 'error' else None)
    page.goto(url)
    page.wait_for_selector('body[data-ready]')
    return page

def shot(page, name):
    "Keep a screenshot, where COLORIZE_NB_SHOTS names a folder"
    if folder := os.environ.get('COLORIZE_NB_SHOTS'): page.screenshot(path=f'{folder}/{name}.png', full_page=True)

def wait_until(page, expression):
    "Wait for something in the page; playwright's own function for it needs `eval`, which the page forbids"
    for _ in range(600):
        if page.evaluate(expression): return
        page.wait_for_timeout(100)
    raise TimeoutError(expression)

def wait_color(page, after=0):
    wait_until(page, "document.getElementById('color').naturalWidth > 0 && "
                     f"+document.getElementById('stage').dataset.version > {after}")
    return int(page.get_attribute('#stage', 'data-version'))

@pytest.mark.slow
@pytest.mark.parametrize('width,height,scheme', [(1280, 900, 'light'), (360, 740, 'dark')])
def test_the_whole_path_in_a_browser(browser, served, tmp_path, width, height, scheme):
    "Choose, compare, change, take back, reload, remove, download; the slider by its arrow keys"
    size, touch = f'{width}', width < 600
    page = open_page(browser, served.url, width, height, has_touch=touch, color_scheme=scheme)
    shot(page, f'welcome-{size}')
    files = [dict(name='cat.png', mimeType='image/png', buffer=PNG),
             dict(name='side.jpg', mimeType='image/jpeg', buffer=tilted()),
             dict(name='note.png', mimeType='image/png', buffer=b'dear grandmother')]
    page.set_input_files('#choose', files)
    wait_until(page, "document.querySelectorAll('#pictures li').length === 3")
    wait_until(page, "document.getElementById('batch').hidden")
    version = wait_color(page)
    assert page.locator('#stage').bounding_box()['width'] > 250
    assert 'note.png' in page.text_content('#problem') and page.locator('#pictures li.wrong').count() == 1
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'wider than the screen'
    # the slider, by the keyboard; focus stays
    page.focus('#slider')
    for _ in range(40): page.keyboard.press('ArrowRight')
    assert page.input_value('#slider') == '40' and page.evaluate('document.activeElement.id') == 'slider'
    assert '40%' in page.evaluate("document.getElementById('color').style.clipPath")
    shot(page, f'work-{size}')
    # saturation by the keyboard: one step each; undo and redo
    page.focus('#saturation')
    page.keyboard.press('Home')
    version = wait_color(page, version)
    assert page.input_value('#saturation') == '0' and page.evaluate('document.activeElement.id') == 'saturation'
    page.keyboard.press('Control+z')
    version = wait_color(page, version)
    assert page.input_value('#saturation') == '1'
    page.keyboard.press('Control+Shift+Z')
    version = wait_color(page, version)
    assert page.input_value('#saturation') == '0'
    # the file has no colours then
    with page.expect_download() as got: page.click('#download')
    assert got.value.suggested_filename == 'cat.png'
    with Image.open(got.value.path()) as im: assert im.size == CAT.size and np.ptp(np.asarray(im), axis=2).max() <= 2
    # a reload finds pictures and settings; a second tab has its own
    page.reload()
    page.wait_for_selector('body[data-ready]')
    wait_color(page)
    assert page.locator('#pictures li').count() == 2 and page.input_value('#saturation') == '0'
    other = open_page(browser, served.url, width, height)
    assert other.locator('#pictures li').count() == 0 and other.is_visible('#welcome')
    # the other picture by a key, and all as a zip
    page.focus('#stage')
    page.keyboard.press('PageDown')
    wait_color(page)
    assert page.text_content('#name') == 'side.jpg' and '150 × 225' in page.text_content('#about')
    with page.expect_download() as got: page.click('#download-all')
    with ZipFile(got.value.path()) as z: assert sorted(z.namelist()) == ['cat.png', 'side.jpg']
    page.click('#remove')
    wait_until(page, "document.querySelectorAll('#pictures li').length === 1")
    assert page.text_content('#name') == 'cat.png'
    # every control has a name
    nameless = page.evaluate("""[...document.querySelectorAll('button, input, select, canvas')]
        .filter(e => e.checkVisibility() && !e.textContent.trim() && !e.ariaLabel && !(e.labels && e.labels.length))
        .map(e => e.outerHTML)""")
    assert not nameless
    shot(page, f'end-{size}')
    expected = [e for e in page.errors if '415' not in e] # of the file that is no picture
    assert not expected, expected
    page.context.close()
    other.context.close()

class Painter(Colorizer):
    "Takes hints, whatever the packaged model can: each colours the quarter of the picture that it lies in"
    def __init__(self):
        engine = type('Engine', (), dict(predict=None, takes_hints=True, device='cpu'))()
        super().__init__(engine, dict(name='painter', outputs=['ab', 'logits']))

    def predict_ab(self, pictures, size=None, tta=False, vivid=None, hints=None, saturation=None):
        ab = np.zeros((2, 2, 2), np.float32)
        for h in hints[0] if hints else []:
            w, hgt = pictures[0].size
            r, g, b = h['rgb']
            ab[:, int(h['y'] >= hgt/2), int(h['x'] >= w/2)] = (r - g)/3, (g - b)/3
        return [ab]

@contextmanager
def page_of(monkeypatch, *colorizers):
    "The page with a few colorizers, served from here"
    import uvicorn

    import colorize_nb.app.server as server
    import colorize_nb.app.work as work
    few = {c.name: c for c in colorizers}
    class Few(work.Models):
        "These colorizers alone."
        def __init__(self, *args): self.default, self.names, self.loaded = next(iter(few)), list(few), few
        def __call__(self, name=None): return few[name or self.default]
        def rows(self): return [row | dict(hints=True) for row in super().rows()]
    monkeypatch.setattr(server, 'Models', Few)
    app = create_app()
    run = uvicorn.Server(uvicorn.Config(app, port=0, log_level='warning', lifespan='off'))
    thread = threading.Thread(target=run.run, daemon=True)
    thread.start()
    while not run.started: time.sleep(.05)
    yield f'http://127.0.0.1:{run.servers[0].sockets[0].getsockname()[1]}/'
    run.should_exit = True
    thread.join(30)
    app.state.close()

@pytest.fixture
def painted(monkeypatch):
    import colorize_nb.app.server as server
    import colorize_nb.app.work as work
    monkeypatch.setattr(work, 'as_hints', lambda hints, size: list(hints))
    swatches = [dict(rgb=[180, 40, 40], share=.6), dict(rgb=[40, 60, 180], share=.3)]
    monkeypatch.setattr(server, 'suggest_colors', lambda *args: swatches)
    with page_of(monkeypatch, Painter()) as url: yield url

class Undecided:
    "An engine for which all is red or blue: it has suggestions, several answers, and takes hints"
    takes_hints, device, name = True, 'cpu', 'undecided'
    meta = dict(name='undecided', size=64, saturation=1., inputs=['l', 'hints'], outputs=['ab', 'logits'])
    def answer(self, l, hints=None):
        logits = np.full((len(l), 313, *l.shape[1:]), -9, np.float32)
        for (a, b), v in {(30, 20): 1.5, (10, -30): 1}.items():
            logits[:, np.abs(grid_colors() - [a, b]).sum(1).argmin()] = v
        ab = mean_color(logits)
        return ab if hints is None else np.where(hints[:, 2:] > 0, 110*hints[:, :2], ab), logits
    def predict(self, l, hints=None): return self.answer(l, hints)[0]

class Plain:
    "An engine that has one answer, a warm brown, and nothing to choose from"
    takes_hints, device, name = False, 'cpu', 'plain'
    meta = dict(name='plain', size=64, saturation=1., inputs=['l'], outputs=['ab'])
    def predict(self, l): return np.stack([np.full((len(l), 8, 8), v, np.float32) for v in (12, 20)], 1)

@pytest.fixture
def undecided(monkeypatch):
    with page_of(monkeypatch, Colorizer(Undecided())) as url: yield url

@pytest.fixture
def plain(monkeypatch):
    with page_of(monkeypatch, Colorizer(Plain())) as url: yield url

@pytest.fixture
def plain_first(monkeypatch):
    with page_of(monkeypatch, Colorizer(Plain()), Colorizer(Undecided())) as url: yield url

def drop(page, data, name='cat.png'):
    "Drop a file on the page, as from the desktop"
    page.evaluate("""([text, name]) => {
        const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0)), data = new DataTransfer()
        data.items.add(new File([bytes], name, {type: 'image/png'}))
        for (const kind of ['dragenter', 'dragover', 'drop']) {
            document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}))
        } }""", [b64encode(data).decode(), name])

def paste(page, data, name='image.png'):
    "Paste a picture from the clipboard"
    page.evaluate("""([text, name]) => {
        const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0)), clipboardData = new DataTransfer()
        clipboardData.items.add(new File([bytes], name, {type: 'image/png'}))
        document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true, cancelable: true}))
        }""", [b64encode(data).decode(), name])

# where sRGB has all colours of a photograph
SOFT = Image.linear_gradient('L').resize((225, 150)).point(lambda v: 90 + v/4)

def ab_at(path, x, y): return skcolor.rgb2lab(np.asarray(Image.open(path).convert('RGB'))/255)[y, x, 1:]
def ab_of(rgb): return skcolor.rgb2lab(np.array(rgb)/255)[1:]

@pytest.mark.slow
@pytest.mark.parametrize('width,height', [(1280, 900), (360, 740)])
def test_drop_click_change_save(browser, undecided, tmp_path, width, height):
    "A picture is dropped, one of several answers taken, a place clicked, its colour changed, and the file has it there"
    page = open_page(browser, undecided, width, height, has_touch=width < 600)
    drop(page, file_of(SOFT))
    version = wait_color(page)
    assert page.is_hidden('#drop') and page.is_hidden('#lacks-answers') # the model has them
    # one of several answers
    page.click('#show-answers')
    page.wait_for_selector('.answer')
    assert page.locator('.answer').count() == 7 and page.get_attribute('.answer >> nth=0', 'aria-pressed') == 'true'
    shot(page, f'answers-{width}')
    looks = page.evaluate("[...document.querySelectorAll('.answer img')].map(i => i.src)")
    assert len(set(looks)) == 7
    page.locator('.answer').nth(3).click()
    version = wait_color(page, version)
    assert page.get_attribute('.answer >> nth=3', 'aria-pressed') == 'true'
    page.keyboard.press('Control+z')
    version = wait_color(page, version)
    assert page.get_attribute('.answer >> nth=0', 'aria-pressed') == 'true'
    page.locator('.answer').nth(3).click()
    version = wait_color(page, version)
    # a colour by hand: the second suggestion
    box = page.locator('#stage').bounding_box()
    at = dict(x=box['width']*.25, y=box['height']*.25)
    page.tap('#stage', position=at) if width < 600 else page.click('#stage', position=at)
    page.wait_for_selector('.swatch')
    version = wait_color(page, version)
    page.locator('.swatch').nth(1).click()
    version = wait_color(page, version)
    rgb = [int(v) for v in re.findall(r'\d+', page.locator('.swatch').nth(1).evaluate('e => e.style.backgroundColor'))]
    with page.expect_download() as got: page.click('#download')
    got.value.save_as(tmp_path/'cat.png')
    assert np.hypot(*(ab_at(tmp_path/'cat.png', 56, 37) - ab_of(rgb))) < 5
    assert b'answer 3 of 6' in (tmp_path/'cat.png').read_bytes()
    # the rest is the answer that was chosen, and more of it is wanted; the hint's colour stays
    page.focus('#saturation')
    page.keyboard.press('End')
    wait_color(page, version)
    with page.expect_download() as got: page.click('#download')
    got.value.save_as(tmp_path/'strong.png')
    assert np.hypot(*(ab_at(tmp_path/'strong.png', 56, 37) - ab_of(rgb))) < 5
    assert np.hypot(*ab_at(tmp_path/'strong.png', 180, 120)) > 1.5*np.hypot(*ab_at(tmp_path/'cat.png', 180, 120))
    with page.expect_download() as got: page.click('#layers')
    assert got.value.suggested_filename == 'cat.ora'
    with ZipFile(got.value.path()) as z: original = np.asarray(Image.open(BytesIO(z.read('data/original.png'))))
    assert np.array_equal(original[..., 0], np.asarray(SOFT))
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'wider than the screen'
    assert not page.errors, page.errors
    page.context.close()

@pytest.mark.slow
@pytest.mark.parametrize('width,height', [(1280, 900), (360, 740)])
def test_which_model_has_choices(browser, plain_first, width, height):
    "A model without a distribution says which one has it, and one press changes to that, for swatches and for answers"
    page = open_page(browser, plain_first, width, height, has_touch=width < 600)
    drop(page, file_of(SOFT))
    version = wait_color(page)
    assert 'plain' in (said := page.text_content('#lacks-answers span')) and 'undecided' in said
    assert page.is_hidden('#show-answers') and page.input_value('#model') == 'plain'
    asked = []
    page.on('request', lambda r: asked.append(urlsplit(r.url).path.rpartition('/')[2]))
    box = page.locator('#stage').bounding_box()
    page.mouse.dblclick(box['x'] + box['width']/4, box['y'] + box['height']/4)
    version = wait_color(page, version)
    assert page.locator('.hint').count() == 1 and page.is_visible('#point') # a double click is one click
    assert 'suggest' not in asked # the model has none: no time is lost
    assert page.locator('.swatch').count() == 0 and 'undecided' in page.text_content('#lacks-swatches')
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'wider than the screen'
    shot(page, f'lacks-{width}')
    page.click('#able-swatches')
    wait_until(page, "document.activeElement.className === 'swatch'")
    version = wait_color(page, version)
    assert page.input_value('#model') == 'undecided' and page.locator('.hint').count() == 1
    assert page.is_hidden('#lacks-swatches') and page.is_hidden('#lacks-answers') and page.is_visible('#show-answers')
    shot(page, f'has-{width}')
    page.keyboard.press('Control+z') # takes the model back
    version = wait_color(page, version)
    wait_until(page, "document.querySelectorAll('.swatch').length === 0")
    assert page.input_value('#model') == 'plain' and page.is_visible('#lacks-swatches')
    page.click('#able-answers')
    wait_until(page, "document.activeElement.className === 'answer'")
    assert page.locator('.answer').count() == 7 and page.locator('.hint').count() == 1
    assert not page.errors, page.errors
    page.context.close()

@pytest.mark.slow
def test_a_newcomer_in_a_hurry(browser, plain, tmp_path):
    "Leaves a picture at once, clicks a colour photograph, comes back after the program was started anew"
    page = open_page(browser, plain, 1280, 900)
    def choose(*names): page.set_input_files('#choose', [dict(name=n, mimeType='', buffer=files[n]) for n in names])
    files = {'one.png': PNG, 'two.png': PNG, 'own.jpg': file_of(sample('chelsea'), 'JPEG')}
    listed = "document.querySelectorAll('#pictures li').length === {} && document.getElementById('batch').hidden"
    choose('one.png', 'two.png')
    wait_until(page, "document.getElementById('batch').hidden")
    wait_color(page)
    assert page.is_hidden('#answers-row') # no model has several
    # two changes, and the next picture before the first of them is shown
    page.evaluate("""() => {
        const s = document.getElementById('saturation')
        for (const v of [.5, 0]) { s.value = v; s.dispatchEvent(new Event('change')) }
        document.querySelectorAll('#pictures button')[1].click() }""")
    def saturations(): return page.evaluate("""async () => {
        const s = sessionStorage.getItem('colorize-nb')
        return (await (await fetch(`s/${s}`)).json()).pictures.map(p => p.settings.saturation) }""")
    for _ in range(100):
        if (found := saturations()) == [0, None]: break
        page.wait_for_timeout(100)
    assert found == [0, None] # what was chosen last
    # a colour photograph: the click says what to do, and the box that does it has the focus
    choose('own.jpg')
    wait_until(page, listed.format(3))
    page.locator('#pictures button').nth(2).click()
    wait_until(page, "document.getElementById('name').textContent === 'own.jpg'")
    page.click('#stage', position=dict(x=100, y=100))
    assert 'has colours already' in page.text_content('#problem') and page.locator('.hint').count() == 0
    assert page.evaluate('document.activeElement.id') == 'force'
    version = int(page.get_attribute('#stage', 'data-version') or 0)
    page.keyboard.press('Space')
    wait_color(page, version)
    assert page.text_content('#problem') == '' and 'wrong' in page.text_content('#hint-help')
    # the session is over: what is dropped begins another one
    before, gone = page.evaluate("sessionStorage.getItem('colorize-nb')"), []
    def answer(route):
        if gone: return route.continue_()
        gone.append(route.request.url)
        route.fulfill(status=404, json=dict(error='this session is over'))
    page.route('**/pictures?name=*', answer)
    drop(page, PNG, 'new.png')
    wait_until(page, "document.getElementById('name').textContent === 'new.png'")
    assert gone and page.evaluate("sessionStorage.getItem('colorize-nb')") != before
    wait_until(page, listed.format(1))
    assert 'over' in page.text_content('#problem')
    assert not [e for e in page.errors if '404' not in e], page.errors
    page.context.close()

def tab_to(page, id):
    "Press Tab until an element has the focus"
    for _ in range(60):
        if page.evaluate('document.activeElement.id') == id: return
        page.keyboard.press('Tab')
    raise AssertionError(f'{id} cannot be reached by Tab')

@pytest.mark.slow
def test_by_the_keyboard_alone(browser, undecided, tmp_path):
    "Choose a file, take an answer, set a colour, save: no pointer at all"
    page = open_page(browser, undecided, 1280, 900)
    tab_to(page, 'choose')
    with page.expect_file_chooser() as chooser: page.keyboard.press('Enter')
    chooser.value.set_files([dict(name='cat.png', mimeType='image/png', buffer=file_of(SOFT))])
    version = wait_color(page)
    tab_to(page, 'stage')
    for key in ['ArrowUp']*5 + ['ArrowLeft']*5 + ['Enter']: page.keyboard.press(key)
    wait_until(page, "document.activeElement.className === 'swatch'")
    page.keyboard.press('Tab')
    page.keyboard.press('Enter') # the second suggestion
    rgb = [int(v) for v in re.findall(r'\d+', page.evaluate('document.activeElement.style.backgroundColor'))]
    version = wait_color(page, version)
    page.keyboard.press('Escape')
    assert page.evaluate('document.activeElement.className') == 'hint'
    tab_to(page, 'show-answers')
    page.keyboard.press('Enter')
    wait_until(page, "document.activeElement.className === 'answer'") # the first of them has the focus
    page.keyboard.press('Tab')
    page.keyboard.press('Enter')
    wait_until(page, "document.activeElement.getAttribute('aria-pressed') === 'true'")
    tab_to(page, 'download')
    with page.expect_download() as got: page.keyboard.press('Enter')
    got.value.save_as(tmp_path/'cat.png')
    def focused(): return page.evaluate('document.activeElement.id')
    wait_until(page, "!document.getElementById('download').disabled")
    assert focused() == 'download' # it rested while the picture was made
    page.focus('#undo')
    while page.is_enabled('#undo'): page.keyboard.press('Enter')
    assert focused() == 'redo' # all is taken back: the focus goes to what can be pressed
    page.focus('#remove')
    page.keyboard.press('Enter')
    wait_until(page, "document.getElementById('work').hidden")
    assert focused() == 'choose'
    x, y = round((.5 - 5*.025)*225 - .5), round((.5 - 5*.025)*150 - .5)
    assert np.hypot(*(ab_at(tmp_path/'cat.png', x, y) - ab_of(rgb))) < 5
    assert b'answer 1 of 6' in (tmp_path/'cat.png').read_bytes() and not page.errors
    page.context.close()

@pytest.mark.slow
@pytest.mark.parametrize('width,height', [(1280, 900), (360, 740)])
def test_colours_by_hand_in_a_browser(browser, painted, width, height):
    "Click or tap, take a suggestion, drag, take back, delete; the same by the keyboard alone"
    page = open_page(browser, painted, width, height, has_touch=width < 600)
    page.set_input_files('#choose', [dict(name='cat.png', mimeType='image/png', buffer=PNG)])
    wait_color(page)
    hints, box = page.locator('.hint'), page.locator('#stage').bounding_box()
    def settings(): return page.evaluate("""async () => {
        const s = sessionStorage.getItem('colorize-nb')
        return (await (await fetch(`s/${s}`)).json()).pictures[0].settings.hints }""")
    def stored(test): # waits until the server has them
        for _ in range(200):
            if test(found := settings()): return found
            page.wait_for_timeout(50)
        raise TimeoutError(found)
    at = dict(x=box['width']*.25, y=box['height']*.25)
    page.tap('#stage', position=at) if width < 600 else page.click('#stage', position=at)
    page.wait_for_selector('#point:not([hidden])')
    assert page.locator('.swatch').count() == 2 and hints.count() == 1
    h, = stored(len)
    assert abs(h['x'] - 225*.25) <= 2 and abs(h['y'] - 150*.25) <= 2 and h['rgb'] == [180, 40, 40] # by hand
    page.locator('.swatch').nth(1).click()
    stored(lambda hs: hs[0]['rgb'] == [40, 60, 180])
    shot(page, f'hint-{width}')
    # drag it to the right; that is one step to take back
    b = hints.nth(0).bounding_box()
    page.mouse.move(b['x'] + 15, b['y'] + 15)
    page.mouse.down()
    page.mouse.move(b['x'] + 15 + box['width']/4, b['y'] + 15, steps=5)
    page.mouse.move(b['x'] + 15 + box['width']/2, b['y'] + 15, steps=5)
    page.mouse.up()
    stored(lambda hs: abs(hs[0]['x'] - 225*.75) <= 2)
    page.keyboard.press('Control+z')
    stored(lambda hs: abs(hs[0]['x'] - 225*.25) <= 2 and hs[0]['rgb'] == [40, 60, 180])
    # by the keyboard alone: a second one in the middle and to the right, moved, deleted
    page.keyboard.press('Escape')
    assert page.is_hidden('#point')
    page.focus('#stage')
    for key in ['ArrowRight']*4 + ['Enter']: page.keyboard.press(key)
    wait_until(page, "document.activeElement.className === 'swatch'")
    second = stored(lambda hs: len(hs) == 2)[1]
    assert abs(second['x'] - 225*.6) <= 2 and abs(second['y'] - 75) <= 2 # four steps of a fortieth
    page.keyboard.press('Escape')
    assert page.evaluate("document.activeElement.className") == 'hint' # focus goes back to the point
    page.keyboard.press('ArrowUp')
    stored(lambda hs: hs[1]['y'] < second['y'])
    page.keyboard.press('Delete')
    stored(lambda hs: len(hs) == 1)
    # a colour from another picture, which the server never gets
    page.locator('.hint').focus()
    page.keyboard.press('Enter')
    wait_until(page, "document.activeElement.className === 'swatch'")
    red = dict(name='red.png', mimeType='image/png', buffer=file_of(Image.new('RGB', (40, 30), (250, 10, 20))))
    page.set_input_files('#choose-reference', [red])
    wait_until(page, "document.activeElement.id === 'reference'")
    page.keyboard.press('ArrowLeft')
    page.keyboard.press('Enter')
    stored(lambda hs: hs[0]['rgb'] == [250, 10, 20])
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'wider than the screen'
    shot(page, f'reference-{width}')
    # the preview has the colour where the hint is, and not elsewhere
    page.reload()
    wait_color(page)
    assert hints.count() == 1
    shares = page.evaluate("""() => { const c = document.createElement('canvas'), i = document.getElementById('color')
        c.width = i.naturalWidth; c.height = i.naturalHeight
        const g = c.getContext('2d'); g.drawImage(i, 0, 0)
        return [[.1, .1], [.9, .9]].map(([x, y]) => [...g.getImageData(x*c.width, y*c.height, 1, 1).data]) }""")
    assert shares[0][0] - shares[0][1] > 40 and shares[1][0] - shares[1][1] < 12 # red here, not there
    assert not page.errors, page.errors
    page.context.close()

@pytest.mark.slow
def test_points_as_a_file(browser, undecided, tmp_path):
    "Points are saved as the command reads them, and come back with the picture, or say why not"
    page = open_page(browser, undecided, 1280, 900)
    drop(page, file_of(SOFT))
    wait_color(page)
    assert page.is_hidden('#save-points')
    box = page.locator('#stage').bounding_box()
    page.click('#stage', position=dict(x=box['width']*.25, y=box['height']*.25))
    page.wait_for_selector('.swatch')
    with page.expect_download() as got: page.click('#save-points')
    assert got.value.suggested_filename == 'cat.hints.json'
    hints = Hints.read(got.value.path())
    assert hints.size == (225, 150) and len(hints) == 1
    assert abs(hints.hints[0].x - 225*.25) <= 2 and abs(hints.hints[0].y - 150*.25) <= 2
    data = Path(got.value.path()).read_bytes()
    other = open_page(browser, undecided, 1280, 900)
    def choose(**files): # name without what follows the first point
        names = dict(cat='cat.png', points='cat.hints.json', alone='dog.hints.json', text='cat.hints.json')
        other.set_input_files('#choose', [dict(name=names[k], mimeType='', buffer=v) for k, v in files.items()])
    choose(points=data, cat=file_of(SOFT))
    wait_until(other, "document.querySelectorAll('.hint').length === 1")
    other.keyboard.press('Control+z')
    wait_until(other, "document.querySelectorAll('.hint').length === 0")
    for files, words in [(dict(alone=data), 'not here'), (dict(text=b'dear grandmother'), 'no file of points'),
                         (dict(text=data.replace(b'225', b'226')), 'another size'),
                         (dict(text=data.replace(b'"rgb":[', b'"rgb":[300,')), 'three numbers')]:
        choose(**files)
        wait_until(other, f"document.getElementById('problem').textContent.includes({words!r})")
    assert other.locator('#pictures li').count() == 1 and other.locator('.hint').count() == 0
    assert not [e for e in page.errors + other.errors if '400' not in e]
    page.context.close()
    other.context.close()

@pytest.mark.slow
def test_a_folder_and_tabs(browser, served, tmp_path):
    "A folder is dropped, a picture pasted; a reload opens what was open; a duplicated tab leaves the first one alone"
    box = tmp_path/'box'
    (box/'below').mkdir(parents=True)
    for name in 'a.png', 'below/b.png', '.hidden.png': (box/name).write_bytes(PNG)
    page = open_page(browser, served.url, 1280, 900)
    cdp, data = page.context.new_cdp_session(page), dict(items=[], files=[str(box)], dragOperationsMask=1)
    for kind in 'dragEnter', 'dragOver', 'drop':
        cdp.send('Input.dispatchDragEvent', dict(type=kind, x=300, y=300, data=data))
    wait_until(page, "document.querySelectorAll('#pictures img[src]').length === 2")
    wait_until(page, "document.getElementById('batch').hidden")
    wait_color(page)
    page.focus('#stage')
    page.keyboard.press('PageDown')
    wait_until(page, "document.getElementById('name').textContent === 'b.png'")
    page.reload()
    wait_until(page, "document.getElementById('name').textContent === 'b.png'")
    def session(p): return p.evaluate("sessionStorage.getItem('colorize-nb')")
    with page.context.expect_page() as opened: page.evaluate('window.open(location.href)')
    twin = opened.value # which starts with a copy of the first one's storage
    twin.wait_for_selector('body[data-ready]')
    assert session(twin) != session(page) and twin.locator('#pictures li').count() == 0
    assert 'other tab' in twin.text_content('#status')
    page.reload()
    wait_until(page, "document.querySelectorAll('#pictures li').length === 2")
    paste(page, PNG)
    wait_until(page, "document.querySelectorAll('#pictures img[src]').length === 3")
    assert 'image.png' in page.text_content('#pictures') and not page.errors, page.errors
    page.context.close()

@pytest.mark.slow
@pytest.mark.parametrize('width,height,scheme', [(1280, 900, 'dark'), (360, 740, 'light')])
def test_the_picture_stays_in_sight(browser, painted, width, height, scheme):
    "While a colour is chosen, the picture is on the screen, and what has the focus is not behind it"
    page = open_page(browser, painted, width, height, has_touch=width < 600, color_scheme=scheme)
    page.set_input_files('#choose', [dict(name='cat.png', mimeType='image/png', buffer=PNG)])
    version = wait_color(page)
    page.focus('#stage')
    page.keyboard.press('Enter')
    wait_until(page, "document.activeElement.className === 'swatch'")
    wait_color(page, version)
    shot(page, f'sight-{width}')
    for id in 'download', 'done', 'own':
        page.focus(f'#{id}')
        page.wait_for_timeout(200)
        stage, focused = page.locator('#stage').bounding_box(), page.locator(f'#{id}').bounding_box()
        assert -1 <= stage['y'] and stage['y'] + stage['height'] <= height + 1
        if width < 600: assert focused['y'] >= stage['y'] + stage['height'] and focused['y'] < height
    assert page.is_visible('label[for=camera]') == (width < 600) # a telephone has one
    # four times as large: the middle stays in the middle, and a click still finds its place
    page.keyboard.press('Escape')
    page.click('#zoom-in')
    page.keyboard.press('+')
    frame, stage = (page.locator(f'#{o}').bounding_box() for o in ('frame', 'stage'))
    assert abs(stage['width'] - 4*frame['width']) <= 4
    for o, n in (('x', 'width'), ('y', 'height')):
        assert abs(stage[o] + stage[n]/2 - frame[o] - frame[n]/2) < 20 # half of a scroll bar and a step
    page.mouse.click(frame['x'] + frame['width']*.75, frame['y'] + frame['height']*.25)
    wait_until(page, "document.querySelectorAll('.hint').length === 2")
    h = page.evaluate("document.querySelectorAll('.hint')[1].getAttribute('aria-label')")
    x, y = map(int, re.search(r'at (\d+), (\d+)', h).groups())
    assert abs(x - 225*(.5 + .25/4)) <= 2 and abs(y - 150*(.5 - .25/4)) <= 2
    page.keyboard.press('Escape')
    page.keyboard.press('-')
    page.click('#zoom-out')
    assert page.is_disabled('#zoom-out') and not page.errors
    page.context.close()
