"""The perceptual study as people meet it: a server that is killed, a report that must find what people answered,
and, in the slow tests, a real browser."""
import asyncio
import csv
import hashlib
import http.client
import io
import json
import os
import re
import secrets
import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom
from starlette.testclient import TestClient

import warm
from browsers import launch
from colorize_nb.study.app import study_app
from colorize_nb.study.design import Study, StudyError, StudyPicture, load_study
from colorize_nb.study.make import make_study
from colorize_nb.study.responses import Answers

try: from playwright import sync_api as playwright
except ImportError: playwright = None
ROOT = Path(__file__).resolve().parent.parent
ENV = {'PYTHONPATH': str(ROOT), 'PYTHONUTF8': '1', 'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'}
RATES = dict(weak=.1, good=.45) # how often people take each model's picture for the real one
TOKEN = 'open sesame'

def call(*args): return warm.run('study', *args, env=os.environ | ENV)

def new_study(folder, n=4, design='pairs', trials=None, practice=2, checks=1, exposure=.1, **kw):
    "A study of small pictures, each of a colour of its own"
    (folder/'pictures').mkdir(parents=True)
    pictures, rng = [], np.random.default_rng(0)
    for i in range(n + 3):
        files, use, size = {}, 'trial' if i < n else 'practice', [(120, 90), (90, 120), (160, 90)][i % 3]
        for c in ['real', *RATES] + (['spoilt'] if use == 'practice' else []):
            files[c] = secrets.token_hex(16)
            blobs = rng.integers(0, 255, (size[1]//10, size[0]//10, 3), dtype=np.uint8)
            im = Image.fromarray(blobs).resize(size)
            im.save(folder/'pictures'/f'{files[c]}.jpg', quality=95, subsampling=0)
        pictures.append(StudyPicture('blobs', f'{i}.jpg', use, files, *size))
    (folder/'token').write_text(TOKEN)
    study = Study(title='Blobs', models=list(RATES), pictures=pictures, trials=trials or n, design=design,
                  practice=practice, checks=checks, exposure=exposure,
                  token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest(), **kw)
    study.save(folder)
    return load_study(folder)

class Server:
    "`colorize-nb study serve` as a process, which can be killed and started again at the same port"
    def __init__(self, folder):
        self.folder, self.port = folder, 0
        self.start()

    def start(self):
        self.run = warm.start('study', 'serve', self.folder, '--port', self.port, env=os.environ | ENV)
        found, before = None, [] # that a study has no secret is said first
        for line in self.run.stderr:
            if found := re.search(r'http://127\.0\.0\.1:\d+/', line): break
            before.append(line)
        assert found, ''.join(before)
        self.url, self.port, self.said = found[0], urlsplit(found[0]).port, []
        threading.Thread(target=lambda err: self.said.extend(err), args=[self.run.stderr], daemon=True).start()

    def kill(self): # SIGKILL, where there is such a thing
        self.run.kill()
        self.run.wait()

    def ask(self, path, method='GET', **kw): # http.client sends a path as it is
        "Status, body and headers of a reply"
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=300)
        c.request(method, path, **kw)
        r = c.getresponse()
        return r.status, r.read(), dict(r.getheaders())

@pytest.fixture(scope='module')
def served(tmp_path_factory):
    "A server for a small study in pairs, and the study"
    folder = tmp_path_factory.mktemp('small')/'study'
    study = new_study(folder)
    server = Server(folder)
    yield server, study
    server.kill()
    assert not server.said, server.said # no log of who came, no traceback

def stored(server, serial):
    answers = Answers(server.folder/'answers.sqlite')
    rows = answers.rows(serial)
    answers.close()
    return rows

def chance(serial, number):
    "A random number of a participant and a trial, [0,1)"
    return int.from_bytes(hashlib.blake2b(f'{serial} {number}'.encode(), digest_size=8).digest(), 'big')/2**64

def insist(server, *args, **kw):
    "Ask until there is a reply, as the script in the browser does"
    for _ in range(600):
        try: return server.ask(*args, **kw)
        except (OSError, http.client.HTTPException): time.sleep(.1)
    raise TimeoutError(args)

FORM = {'content-type': 'application/x-www-form-urlencoded'}
JSON = {'content-type': 'application/json'}

def take_part(server, study):
    "Begin and answer everything, without a browser; returns the serial and the choices"
    key = re.search(r'name="key" value="([\w-]{22})"', insist(server, '/')[1].decode())[1]
    status, _, headers = insist(server, '/begin', 'POST', body=urlencode(dict(key=key)), headers=FORM)
    assert status == 303 and headers['location'] == 'run'
    cookie, given = {'cookie': headers['set-cookie'].split(';')[0]}, {}
    answers = Answers(server.folder/'answers.sqlite')
    serial = answers.serial(key)
    answers.close()
    by_shown = {tuple(f'{n}.jpg' for n in t.shown): t for t in study.plan(serial)}
    for trial in json.loads(insist(server, '/plan', headers=cookie)[1])['trials']:
        t = by_shown[tuple(trial['pictures'])]
        fooled = t.kind == 'trial' and chance(serial, t.number) < RATES[t.condition]
        given[t.number] = {'left': 'right', 'right': 'left'}[t.right] if fooled else t.right
        sent = dict(number=t.number, choice=given[t.number], exposure_ms=100, response_ms=500)
        status, reply, _ = insist(server, '/answer', 'POST', body=json.dumps(sent), headers=JSON | cookie)
        assert status == 200 and json.loads(reply)['done'] >= t.number + 1
    return serial, given

def check_report(folder, out, given, study):
    "Does the report of the command have the answers that were given, and their rates?"
    done = call('report', folder, '--out', out)
    assert done.returncode == 0, done.stderr
    with open(out/'answers.csv', encoding='utf-8', newline='') as f: table = list(csv.DictReader(f))
    assert {(int(r['participant']), int(r['number'])): r['choice'] for r in table} == given
    assert len(table) == len(given)
    results = json.loads((out/'results.json').read_text(encoding='utf-8'))
    people = sorted({serial for serial, _ in given})
    assert results['people']['finished'] == results['people']['counted'] == len(people)
    rates = {r['condition']: r for r in results['rates']}
    for m, bias in RATES.items():
        shown = [(k, t) for k in people for t in study.plan(k) if t.kind == 'trial' and t.condition == m]
        assert rates[m]['answers'] == len(shown)
        assert rates[m]['rate'] == pytest.approx(np.mean([chance(k, t.number) < bias for k, t in shown]))
    return rates

def test_people_and_a_server_that_dies(tmp_path):
    "Every answer counts once, though the server is killed meanwhile; without a browser"
    study = new_study(tmp_path/'study', n=10, practice=1, checks=1)
    server = Server(tmp_path/'study')
    try:
        with ThreadPoolExecutor(6) as pool:
            people = [pool.submit(take_part, server, study) for _ in range(6)]
            while len(stored(server, None)) < 20: time.sleep(.02)
            server.kill()
            time.sleep(.3)
            server.start()
            people = dict(p.result() for p in people)
    finally: server.kill()
    given = {(serial, n): c for serial, choices in people.items() for n, c in choices.items()}
    rows = stored(server, None)
    assert sorted(people) == list(range(6)) and len(rows) == len(given) == 6*12
    assert {(r['participant'], r['number']): r['choice'] for r in rows} == given
    check_report(tmp_path/'study', tmp_path/'out', given, study)

def test_made_by_the_command(tmp_path):
    "From the packaged photographs to a page, and the report by its token; without a browser"
    done = call('make', tmp_path/'s', '--exposure', '.1', '--size', '128', '--title', 'Is it <b>real</b>?')
    assert done.returncode == 0, done.stderr
    token, study = (tmp_path/'s'/'token').read_text().strip(), load_study(tmp_path/'s')
    server = Server(tmp_path/'s')
    try:
        assert b'<title>Is it &lt;b&gt;real&lt;/b&gt;?</title>' in server.ask('/')[1]
        for given, status in ('guess', 403), (token, 200):
            form = urlencode(dict(token=given, kind='csv'))
            reply = server.ask('/report', 'POST', body=form, headers=FORM)
            assert reply[0] == status
        assert reply[1].startswith(b'participant,number,kind,') and study.sizes == dict(sample=6)
    finally: server.kill()

def test_nothing_else_is_served(served):
    server, study = served
    get = server.ask
    hexes = [f for p in study.pictures for f in p.files.values()]
    status, data, heads = get(f'/picture/{hexes[0]}.jpg')
    assert status == 200
    assert data == (server.folder/'pictures'/f'{hexes[0]}.jpg').read_bytes()
    assert 'immutable' in heads['cache-control']
    assert not {'last-modified', 'etag', 'server', 'set-cookie'} & heads.keys()
    paths = [
        '/study.json', '/token', '/answers.sqlite', '/pictures/', f'/pictures/{hexes[0]}.jpg', f'/picture/{hexes[0]}',
        '/picture/', '/picture/../study.json', '/picture/..%2fstudy.json', '/picture/%2e%2e%2ftoken', '/../token',
        '//token', '/picture/..\\token', '/picture/' + str(server.folder/'token'), '/picture//etc/passwd', '/.env',
        '/favicon.ico', '/docs', '/openapi.json', '/study.js/../token']
    for path in paths:
        status, data, _ = get(path)
        assert status in (400, 404) and TOKEN.encode() not in data and b'sha256' not in data, path
    assert get('/plan')[0] == 401
    assert get('/answer', 'POST', body='{"number": 0, "choice": "left"}',
               headers={'content-type': 'application/json'})[0] == 401
    assert get('/answer', 'POST', body='x'*10**6)[0] == 413
    assert get('/begin', 'POST', body='new=1', headers={'sec-fetch-site': 'cross-site'})[0] == 403
    assert get('/', 'DELETE')[0] == 405

# A guesser who has the program and the traffic of a participant, and must not know more than a coin

PAIRS, ODDS = 300, 1e-6

def photographs(folder, n):
    "True pictures with fine colours and colorized ones with smooth colours, as models make them: `real` and `fake`"
    rng = np.random.default_rng(1)
    for d in 'real', 'fake': (folder/d).mkdir(parents=True)
    for i in range(n):
        size = [(40, 32), (32, 40), (36, 36)][i % 3]
        rgb = rng.integers(0, 255, (size[1]//2, size[0]//2, 3), dtype=np.uint8)
        y, cb, cr = Image.fromarray(rgb).resize(size).convert('YCbCr').split()
        smooth = [c.resize((2, 2)).resize(size) for c in (cb, cr)]
        Image.merge('YCbCr', (y, cb, cr)).convert('RGB').save(folder/'real'/f'{i:03}.png')
        Image.merge('YCbCr', (y, *smooth)).convert('RGB').save(folder/'fake'/f'{i:03}.png')
    return dict(reals=[folder/'real'], fakes=[folder/'fake'], trials=n, practice=0, checks=0, size=64,
                log=lambda note: None)

def listen(folder):
    "All that goes over the network while one person takes part: their plan, and each picture's headers and bytes"
    client = TestClient(study_app(folder), follow_redirects=False)
    key = re.search(r'name="key" value="([\w-]{22})"', client.get('/').text)[1]
    client.post('/begin', data=dict(key=key))
    client.get('/run')
    plan, pictures = client.get('/plan').json(), {}
    for t in plan['trials']:
        for name in t['pictures']:
            r = client.get(f'/picture/{name}')
            pictures[name] = [(k.lower(), v) for k, v in r.headers.items()], r.content
        r = client.post('/answer', json=dict(number=t['number'], choice='left', exposure_ms=1000, response_ms=500))
        assert r.json() == dict(done=t['number'] + 1, new=True)
    return plan, pictures

def segments(data):
    "A JPEG file's bytes up to the compressed data, the length of these, and what follows them: by T.81, B.1.1"
    at = 2
    while data[at + 1] != 0xda: at += 2 + int.from_bytes(data[at + 2:at + 4], 'big')
    at += 2 + int.from_bytes(data[at + 2:at + 4], 'big')
    end = data.index(b'\xff\xd9', at)
    return data[:at], end - at, data[end + 2:]

# What is left and right of a pair: (name, headers, bytes); a guess is -1, 1 or 0 for "no idea"
def sign(a, b): return (a > b) - (a < b)
GUESSES = {
    'the shorter file': lambda l, r: sign(len(l[2]), len(r[2])),
    'the content-length': lambda l, r: sign(int(dict(l[1])['content-length']), int(dict(r[1])['content-length'])),
    'any header': lambda l, r: sign(l[1], r[1]),
    'the order of names': lambda l, r: sign(l[0], r[0]),
    'bytes before the compressed data': lambda l, r: sign(segments(l[2])[0], segments(r[2])[0]),
    'length of the compressed data': lambda l, r: sign(segments(l[2])[1], segments(r[2])[1]),
    'bytes after the end': lambda l, r: sign(segments(l[2])[2], segments(r[2])[2]),
    'the last bytes': lambda l, r: sign(l[2][-100:], r[2][-100:]),
    'always left': lambda l, r: -1}

def hits(guess, truth, plan, pictures):
    "How often a guesser is right; a guess of nothing is a coin's"
    coin, right = np.random.default_rng(0), 0
    for t in plan['trials']:
        got = guess(*((name, *pictures[name]) for name in t['pictures'])) or coin.choice([-1, 1])
        right += ('left' if got < 0 else 'right') == truth[t['number']]
    return right

def test_a_study_cannot_be_read_from_the_network(tmp_path):
    """Every guess is right about as often as a coin: within the bounds that a binomial of 1/2 leaves with a probability
    of one in a million. What is guessed from: lengths, headers, names, order, and the plan that the program makes of
    everything but the secret. The same guesses find nearly all answers where files and plans are as they were."""
    kw = photographs(tmp_path/'photographs', PAIRS)
    study, _ = make_study(tmp_path/'study', **kw)
    low, high = binom.ppf(ODDS/2, PAIRS, .5), binom.isf(ODDS/2, PAIRS, .5)
    assert (low, high) == (108, 192) # by a table: 150 plus or minus 4.9 times sqrt(75)
    plan, pictures = listen(tmp_path/'study')
    truth = {t.number: t.right for t in study.plan(0)}
    assert len(truth) == PAIRS == len({frozenset(t['pictures']) for t in plan['trials']})
    for name, guess in GUESSES.items(): assert low <= hits(guess, truth, plan, pictures) <= high, name
    for t in plan['trials']: # nothing differs but the compressed data, in as many bytes
        (one, a), (other, b) = (pictures[name] for name in t['pictures'])
        assert one == other and len(a) == len(b) and segments(a)[0] == segments(b)[0] and segments(a)[2] == b''
        assert not {'etag', 'last-modified', 'date', 'server', 'set-cookie'} & dict(one).keys()
    for secret in '', '42', study.token_sha256[:8], '0'*32: # the program, the default seed, what a cookie tells
        known = Study(title=study.title, models=study.models, pictures=study.pictures, trials=PAIRS, secret=secret)
        by_program = {t.picture: t.right for t in known.plan(0)}
        same = sum(by_program[t.picture] == t.right for t in study.plan(0))
        assert low <= same <= high, secret
    everything = ' '.join([json.dumps(plan), *map(str, (h for h, _ in pictures.values()))])
    assert study.secret not in everything and study.token_sha256 not in everything

    # as it was: each file as long as its colours need, and a plan of the seed alone
    def as_it_was(data):
        Image.open(io.BytesIO(data)).save(out := io.BytesIO(), 'JPEG', quality=95, subsampling=0)
        return out.getvalue()
    before = {n: ([('content-length', str(len(as_it_was(b))))], as_it_was(b)) for n, (_, b) in pictures.items()}
    for name in 'the shorter file', 'the content-length', 'length of the compressed data':
        assert hits(GUESSES[name], truth, plan, before) > .95*PAIRS, name
    old = Study(title='', models=study.models, pictures=study.pictures, trials=PAIRS)
    assert old.plan(0) == Study(title='', models=study.models, pictures=study.pictures, trials=PAIRS).plan(0)

def test_equal_lengths_for_other_decoders(tmp_path):
    "What follows the last block is skipped by libjpeg's own program and by OpenCV too, where they are"
    from colorize_nb.study.make import equal_lengths
    rng, files = np.random.default_rng(0), []
    for side in 4, 16, 64:
        im = Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).resize((64, 64))
        im.save(out := io.BytesIO(), 'JPEG', quality=95, subsampling=0)
        files.append(out.getvalue())
    assert len(set(map(len, files))) == 3
    readers = dict(pillow=lambda b: np.asarray(Image.open(io.BytesIO(b))))
    try: import cv2
    except ImportError: pass
    else: readers['opencv'] = lambda b: cv2.imdecode(np.frombuffer(b, np.uint8), cv2.IMREAD_COLOR)
    try: import imagecodecs
    except ImportError: pass
    else: readers['imagecodecs'] = imagecodecs.jpeg8_decode
    try: from torchvision.io import decode_jpeg
    except ImportError: pass
    else:
        import torch
        readers['torchvision'] = lambda b: decode_jpeg(torch.frombuffer(bytearray(b), dtype=torch.uint8)).numpy()
    for name, read in readers.items():
        for before, after in zip(files, equal_lengths(files)):
            assert len(after) == max(map(len, files)) and np.array_equal(read(after), read(before)), name

# A folder that somebody else made, or something that is deleted while the study is running

def replace_database(folder, kind):
    "Put something else into the place of the answers"
    path, tables = folder/'answers.sqlite', {'foreign': 'songs (name)',
                                             'ours with other columns': 'participants (serial, name)'}
    if kind in tables:
        db = sqlite3.connect(path)
        db.execute(f'CREATE TABLE {tables[kind]}')
        db.commit()
        db.close()
    elif kind == 'a page': path.write_text('<!doctype html>'*999)
    elif kind == 'a folder': path.mkdir()
    elif kind == 'a link': path.symlink_to(folder.parent/'elsewhere.sqlite')
    elif kind == 'a pipe': os.mkfifo(path)
    elif kind == 'ours with a trigger':
        Answers(path).close()
        db = sqlite3.connect(path)
        db.execute('CREATE TRIGGER sly AFTER INSERT ON answers BEGIN DELETE FROM answers; END')
        db.close()
    elif kind == 'a link beside it': (folder/'answers.sqlite-wal').symlink_to(folder.parent/'elsewhere.sqlite')

@pytest.mark.parametrize('kind', ['foreign', 'ours with other columns', 'ours with a trigger', 'a page', 'a folder',
                                  'a link', 'a link beside it', 'a pipe'])
def test_a_strange_database_is_refused(tmp_path, kind):
    "In a sentence, before anything is served, and nothing is written to it"
    if kind.startswith(('a link', 'a pipe')) and os.name != 'posix': pytest.skip('only on POSIX')
    new_study(tmp_path/'study')
    replace_database(tmp_path/'study', kind)
    path = tmp_path/'study'/'answers.sqlite'
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ValueError, match='answers.sqlite') as e: study_app(tmp_path/'study')
    assert '\n' not in str(e.value) and not (tmp_path/'elsewhere.sqlite').exists()
    assert before is None or path.read_bytes() == before

def visitor(folder):
    "A client who has begun, of an application whose errors are not hidden"
    app = study_app(folder)
    client = TestClient(app, follow_redirects=False)
    key = re.search(r'name="key" value="([\w-]{22})"', client.get('/').text)[1]
    client.post('/begin', data=dict(key=key))
    return app, client

def test_answers_that_vanish_are_not_acknowledged(tmp_path, caplog):
    "Status 503 everywhere, one line for whoever runs the study, and all goes on when the file is back"
    if os.name != 'posix': pytest.skip('Windows does not remove an open file')
    new_study(tmp_path/'study')
    app, client = visitor(tmp_path/'study')
    def answer(n): return client.post('/answer', json=dict(number=n, choice='left'))
    assert answer(0).json()['done'] == 1
    (tmp_path/'study'/'answers.sqlite').rename(tmp_path/'aside')
    got = [client.get('/'), client.get('/run'), client.get('/plan'), client.get('/thanks'), answer(1),
           client.post('/begin', data=dict(new='1')), client.post('/withdraw'),
           client.post('/report', data=dict(token=TOKEN))]
    assert [r.status_code for r in got] == [503]*8
    assert {r.text for r in got} == {app.state.site.texts['unavailable']} and all(r.headers['retry-after'] for r in got)
    assert len([r for r in caplog.records if 'answers.sqlite was removed' in r.message]) == 1
    (tmp_path/'aside').rename(tmp_path/'study'/'answers.sqlite')
    assert answer(1).json() == dict(done=2, new=True) | {k: v for k, v in answer(1).json().items() if k == 'right'}
    assert [r['number'] for r in app.state.site.answers.rows()] == [0, 1]

def test_answers_of_another_study(tmp_path):
    "The report says so; before, it was an error of the server"
    new_study(tmp_path/'long', n=8)
    new_study(tmp_path/'short', n=4)
    answers = Answers(tmp_path/'short'/'answers.sqlite')
    answers.begin()
    for n in range(11): answers.add(0, n, 'left')
    answers.close()
    app, client = visitor(tmp_path/'short')
    r = client.post('/report', data=dict(token=TOKEN))
    assert r.status_code == 409 and 'does not fit this study' in r.text

def test_pictures_that_are_missing(tmp_path, caplog):
    "A study that lacks some is not served; one that is deleted meanwhile is status 404, not 500"
    study = new_study(tmp_path/'study')
    names = [f for p in study.pictures for f in p.files.values()]
    app, client = visitor(tmp_path/'study')
    (tmp_path/'study'/'pictures'/f'{names[0]}.jpg').unlink()
    assert [client.get(f'/picture/{n}.jpg').status_code for n in names[:2]] == [404, 200]
    assert [r for r in caplog.records if names[0] in r.message]
    with pytest.raises(StudyError, match=f'lacks 1 of the {len(names)} pictures'): study_app(tmp_path/'study')
    shutil.rmtree(tmp_path/'study'/'pictures')
    assert client.get(f'/picture/{names[1]}.jpg').status_code == 404
    assert client.post('/answer', json=dict(number=0, choice='left')).json()['done'] == 1 # nothing else needs them
    for kind in 'csv', 'page': # the report, at most without its pictures
        assert client.post('/report', data=dict(token=TOKEN, kind=kind)).status_code in (200, 409)

@pytest.mark.skipif(os.name != 'posix', reason='links need a permission elsewhere')
@pytest.mark.parametrize('which', ['picture', 'pictures', 'study.json', 'pipe'])
def test_links_out_of_the_folder(tmp_path, which):
    "Neither when it is opened nor when a link is planted while it runs"
    study = new_study(tmp_path/'study')
    name = next(iter(study.pictures[0].files.values()))
    (tmp_path/'secret').write_bytes(b'of another')
    app, client = visitor(tmp_path/'study')
    pictures = tmp_path/'study'/'pictures'
    if which in ('picture', 'pipe'):
        (pictures/f'{name}.jpg').unlink()
        if which == 'pipe': os.mkfifo(pictures/f'{name}.jpg')
        else: (pictures/f'{name}.jpg').symlink_to(tmp_path/'secret')
    elif which == 'pictures':
        pictures.rename(tmp_path/'elsewhere')
        (tmp_path/'elsewhere'/f'{name}.jpg').write_bytes(b'of another')
        pictures.symlink_to(tmp_path/'elsewhere')
    else:
        (tmp_path/'study'/'study.json').rename(tmp_path/'study.json')
        (tmp_path/'study'/'study.json').symlink_to(tmp_path/'study.json')
    if which != 'study.json':
        r = client.get(f'/picture/{name}.jpg')
        assert r.status_code == 404 and b'of another' not in r.content
    with pytest.raises(StudyError, match='neither a file' if which == 'pipe' else 'is a link'):
        study_app(tmp_path/'study')

def test_wrong_tokens_wait(tmp_path):
    "RFC 6585: 429 and Retry-After; the right token waits too, and others do not"
    new_study(tmp_path/'study')
    app = study_app(tmp_path/'study')
    def ask(token, host='192.0.2.1'):
        client = TestClient(app, client=(host, 1))
        return client.post('/report', data=dict(token=token, kind='csv'))
    assert [ask('guess').status_code for _ in range(7)] == [403]*5 + [429]*2
    r = ask(TOKEN)
    assert r.status_code == 429 and 0 < int(r.headers['retry-after']) <= 60 and 'participant' not in r.text
    assert ask(TOKEN, '192.0.2.2').status_code == 200
    app.state.site.throttle.clock = lambda: time.monotonic() + 61
    assert ask(TOKEN).status_code == 200

def test_forms_from_other_sites(tmp_path):
    "With Sec-Fetch-Site or without, a POST must come from our own pages"
    new_study(tmp_path/'study')
    client = TestClient(study_app(tmp_path/'study'), base_url='http://lab.example', follow_redirects=False)
    def begin(**headers):
        return client.post('/begin', data={}, headers={k.replace('_', '-'): v for k, v in headers.items()}).status_code
    assert [begin(origin=o) for o in ('http://evil.example', 'null', 'http://lab.example.evil.example')] == [403]*3
    assert [begin(sec_fetch_site=s) for s in ('cross-site', 'same-site')] == [403]*2
    assert [begin(), begin(origin='http://lab.example'), begin(sec_fetch_site='same-origin'),
            begin(host='127.0.0.1:5001', x_forwarded_host='lab.example', origin='https://lab.example')] == [303]*4
    for path in '/answer', '/withdraw', '/report':
        assert client.post(path, data={}, headers={'origin': 'http://evil.example'}).status_code == 403

ODD = [b'', b'{', b'[]', b'null', b'"x"', b'{"number": 1e999}', b'{"number": ' + b'9'*5000 + b'}', b'\xff\xfe',
       b'{"number": {"a": []}, "choice": {"b": 1}}', b'{"a":'*2000, b'a=1&a=2', b'%zz=%', b'--x\r\n\r\n']
KINDS = ['application/json', 'application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain',
         'multipart/form-data; boundary=x', 'application/json; charset=nonsense', 'x']

def test_odd_requests_are_refused_quietly(tmp_path):
    "Whatever is sent, no error of the server"
    new_study(tmp_path/'study')
    app, client = visitor(tmp_path/'study')
    for path in '/answer', '/begin', '/report', '/withdraw':
        for body in ODD:
            for kind in KINDS:
                r = client.post(path, content=body, headers={'content-type': kind})
                assert r.status_code < 500, (path, kind, body[:40])
    name = app.state.site.cookie
    for cookie in '', 'x'*5000, '\xff\xfe', '"', '; =;', '{"a": 1}':
        r = TestClient(app).get('/plan', headers={'cookie': f'{name}={cookie}'.encode('latin-1')})
        assert r.status_code == 401

# In a browser

ASKED, CARD = '[data-state=asked], [data-state=open]', '[data-state=card]'
NEXT, END = '[data-state=told] #next:enabled', 'main.read'

# States follow one another faster than a driver can look: so the page itself notes what can be seen in each, and from
# frame to frame how long pictures could be seen, and the longest frame meanwhile. It presses a key while they can: too
# early. What a test puts into the session's `when` happens 800 ms after the pictures came. And the fixation mark takes
# 100 ms instead of 600, to save time.
QUICK = "{ const wait = setTimeout; window.setTimeout = (f, ms, ...o) => wait(f, ms === 600 ? 100 : ms, ...o) }\n"
DIARY = QUICK + '''window.diary = []; window.seen = []
  const away = () => {
    Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})
    document.dispatchEvent(new Event('visibilitychange'))
    delete document.hidden
  }
  const visible = o => o !== null && getComputedStyle(o).visibility === 'visible'
  const now = () => document.body?.dataset.state
  const shown = () => {
    const imgs = [...document.querySelectorAll('#pictures img')]
    return imgs.length > 0 && imgs.every(i => i.complete && i.naturalWidth > 0 && visible(i))
  }
  addEventListener('DOMContentLoaded', () => new MutationObserver(() => {
    window.diary.push([now(), shown(), visible(document.querySelector('#answers'))])
    if (now() === 'shown') dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))
    const when = now() === 'shown' && sessionStorage.getItem('when')
    if (when) {
      sessionStorage.removeItem('when')
      setTimeout(() => when === 'reload' ? location.reload() : away(), 800)
    }
  }).observe(document.body, {attributes: true, attributeFilter: ['data-state']}))
  let on = null, last = 0, slow = 0
  const look = time => {
    slow = on === null ? time - last : Math.max(slow, time - last); last = time
    const is = now() === 'shown' && shown()
    if (is && on === null) on = time
    if (!is && on !== null) { window.seen.push([time - on, slow]); on = null }
    requestAnimationFrame(look)
  }
  requestAnimationFrame(look)'''

def visit(browser, server, **kw):
    "A page of somebody new who has agreed, with what it asked for"
    context = browser.new_context(**kw)
    context.add_init_script(DIARY)
    page = context.new_page()
    page.asked, page.wrong = [], []
    page.on('request', lambda r: page.asked.append(r.url))
    page.on('pageerror', lambda e: page.wrong.append(str(e)))
    page.on('console', lambda m: page.wrong.append(m.text) if m.type in ('error', 'warning') else None)
    page.goto(server.url)
    page.click('text=I agree')
    page.wait_for_selector(CARD)
    return page

def serial_of(cookies, server):
    "Whose cookies these are"
    token = next(c['value'] for c in cookies if c['name'].startswith('study-'))
    answers = Answers(server.folder/'answers.sqlite')
    serial = answers.serial(token)
    answers.close()
    return serial

def who(page, server): return serial_of(page.context.cookies(), server)

SHOWN = "[...document.querySelectorAll('#pictures img')].map(i => i.src.match(/([0-9a-f]{32})/)[1])"

@pytest.mark.slow
def test_a_visit_with_the_keyboard(browser, served):
    server, study = served
    page = visit(browser, server)
    me = who(page, server)
    plan = study.plan(me)
    assert page.inner_text('#where') == 'Practice 1 of 2'
    page.keyboard.press('Enter') # the card's button has the focus
    states, counted = [], []
    for t in plan:
        page.wait_for_selector(ASKED)
        assert page.evaluate(SHOWN) == list(t.shown)
        page.wait_for_function('seen.length') # the frame after the pictures
        counted += page.evaluate('seen.splice(0)')
        assert not page.is_visible('#pictures img')
        assert page.is_visible('#answers')
        assert page.evaluate('document.activeElement.id') == 'ask'
        page.keyboard.press('Enter') # says nothing
        page.keyboard.press({'left': ('ArrowLeft', '1'), 'right': ('ArrowRight', '2')}[t.right][t.number % 2])
        if t.kind == 'practice':
            page.wait_for_selector(NEXT)
            assert page.inner_text('#ask') == f'Yes. The {t.right} one was colorized.'
            assert page.is_visible('#pictures img')
            kinds = {side: 'colorized' if t.right == side else 'true colours' for side in ('left', 'right')}
            alts = [i.get_attribute('alt') for i in page.query_selector_all('#pictures img')]
            assert alts == [f"Left picture: {kinds['left']}", f"Right picture: {kinds['right']}"]
            page.keyboard.press('Space')
        elif t is not plan[-1]: states += page.evaluate('diary.splice(0)')
        if t.number == 1:
            page.wait_for_selector(CARD)
            assert page.inner_text('#card-title') == 'That was the practice'
            page.keyboard.press('Enter')
    page.wait_for_selector(END)
    visible = {name: (pics, buttons) for name, pics, buttons in map(tuple, states)}
    assert visible == dict(card=(False, False), mark=(False, False), shown=(True, False), gone=(False, False),
                           asked=(False, True), told=(True, False))
    assert page.url == server.url + 'thanks' and 'in 4 of 4 pairs' in page.inner_text('main')
    rows = stored(server, me)
    answered = [(r['number'], r['choice'], r['shows'], r['hidden']) for r in rows]
    assert answered == [(t.number, t.right, 1, False) for t in plan]
    assert len(counted) == len(rows)
    for (ms, slow), r in zip(counted, rows): # a busy machine has slow frames: what is promised is the nearest one
        assert 100 - slow/2 - 1 < r['exposure_ms'] < 100 + slow + 1 and abs(ms - r['exposure_ms']) <= 2*slow + 1
    assert not page.wrong and {urlsplit(u).netloc for u in page.asked} == {urlsplit(server.url).netloc}
    known = {'', 'begin', 'run', 'plan', 'answer', 'picture', 'thanks', 'study.js', 'study.css', 'study.svg'}
    assert {urlsplit(u).path.split('/')[1] for u in page.asked} <= known
    page.click('summary')
    page.click('text=Delete them')
    page.wait_for_selector('text=Your answers are deleted')
    assert not stored(server, me) and not page.context.cookies()
    page.context.close()

def answer_one(page, nth=1):
    "Wait for the question and press a button"
    page.wait_for_selector(ASKED)
    page.click(f'#answers button:nth-child({nth})')

def pass_practice(page):
    for _ in range(2): answer_one(page); page.wait_for_selector(NEXT); page.click('#next')
    page.wait_for_selector(CARD)
    page.click('#go')

@pytest.mark.slow
def test_loading_again(browser, tmp_path):
    new_study(tmp_path/'study', exposure=2)
    server = Server(tmp_path/'study')
    try:
        page = visit(browser, server)
        page.evaluate("sessionStorage.setItem('when', 'reload')")
        with page.expect_event('load'): page.click('#go') # again in the middle of the pictures
        page.wait_for_selector(CARD)
        assert page.inner_text('#where') == 'Practice 1 of 2'
        page.click('#go')
        page.wait_for_selector(ASKED) # and after them
        page.reload()
        page.wait_for_selector(CARD)
        page.click('#go')
        answer_one(page)
        assert 'shown' not in {o[0] for o in page.evaluate('diary')} # no third look
        page.wait_for_selector(NEXT)
        page.evaluate("sessionStorage.setItem('when', 'away')")
        page.click('#next')
        page.wait_for_selector(ASKED) # somebody looked at another tab
        assert not page.is_visible('#pictures img')
        answer_one(page)
        page.wait_for_selector(NEXT)
        page.click('#next')
        page.wait_for_selector(CARD)
        page.click('#go')
        answer_one(page)
        page.wait_for_selector(ASKED)
        rows = stored(server, 0)
        assert [(r['shows'], r['hidden']) for r in rows] == [(2, False), (1, True), (1, False)]
        first, second, third = (r['exposure_ms'] for r in rows)
        assert 2700 < first and 700 < second < 1900 < third < 2700 # both shows together; a part; all of it
        page.reload()
        page.wait_for_selector(CARD)
        assert page.inner_text('#where') == '2 of 5' and page.inner_text('#card-title') == 'Let us go on'
        page.context.close()
    finally: server.kill()

@pytest.mark.slow
def test_each_answer_counts_once(browser, served):
    "Replies that are lost, double clicks, a second tab"
    server, study = served
    page = visit(browser, server)
    lost = []
    def swallow(route):
        reply = route.fetch() # the server has it, but
        if len(lost) % 2: route.fulfill(response=reply)
        else: route.abort()
        lost.append(reply.json()['new'])
    page.route('**/answer', swallow)
    page.click('#go')
    page.wait_for_selector(ASKED)
    page.dblclick('#answers button:nth-child(2)')
    page.wait_for_selector('text=No connection')
    page.wait_for_selector(NEXT)
    page.dblclick('#next')
    page.wait_for_selector(ASKED)
    other = page.context.new_page()
    other.goto(server.url)
    assert 'You have answered 1 of 7' in other.inner_text('main')
    other.click('text=Go on')
    other.wait_for_selector(CARD)
    other.click('#go')
    answer_one(other, 2) # the other tab is faster
    other.wait_for_selector(NEXT)
    page.bring_to_front()
    answer_one(page, 1)
    page.wait_for_selector(NEXT)
    rows = stored(server, who(page, server))
    assert [(r['number'], r['choice']) for r in rows] == [(0, 'right'), (1, 'right')]
    assert lost == [True, False, False, False]
    page.unroute('**/answer')
    other.bring_to_front()
    other.click('#next')
    other.wait_for_selector(CARD)
    other.click('#go')
    for _ in range(2): answer_one(other, 2)
    page.bring_to_front() # a page in the background is slow
    page.click('#next')
    page.click('#go')
    answer_one(page, 1) # trial 2, which is answered: goes on where the other one is
    page.wait_for_selector(ASKED)
    assert page.inner_text('#where') in ('3 of 5', '4 of 5')
    rows = stored(server, who(page, server))
    assert [(r['number'], r['choice']) for r in rows][:4] == [(n, 'right') for n in range(4)]
    page.context.close()

def inside(page, selector):
    w, h = page.viewport_size['width'], page.viewport_size['height']
    for e in page.query_selector_all(selector):
        b = e.bounding_box()
        assert b['x'] >= 0 and b['y'] >= 0 and b['x'] + b['width'] <= w and b['y'] + b['height'] <= h, (selector, b)
    return [tuple(e.bounding_box().values()) for e in page.query_selector_all(selector)]

@pytest.mark.slow
@pytest.mark.parametrize('size,layout', [
    ((360, 640), 'stacked'), ((640, 360), 'beside'), ((320, 256), 'beside'), ((768, 1024), 'stacked'),
    ((1280, 800), 'beside')])
def test_pages_fit_the_screen(browser, served, size, layout):
    server, study = served
    page = visit(browser, server, viewport=dict(width=size[0], height=size[1]), has_touch=True,
                 color_scheme='dark' if size[0] == 360 else 'light')
    def scrolls():
        return page.evaluate('[document.documentElement.scrollHeight - innerHeight, '
                             'document.documentElement.scrollWidth - innerWidth]')
    assert scrolls() == [0, 0]
    # one gray for everyone
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == 'rgb(118, 118, 118)'
    page.tap('#go')
    page.wait_for_selector(ASKED)
    first, second = inside(page, '#pictures img') # invisible now, but there
    assert page.get_attribute('body', 'data-layout') == layout and first[2:] == second[2:] and scrolls() == [0, 0]
    if layout == 'stacked': assert second[1] >= first[1] + first[3]
    else: assert second[0] >= first[0] + first[2] and first[1] == second[1]
    buttons = inside(page, '#answers button')
    assert all(b[3] >= 44 for b in buttons) and scrolls() == [0, 0] # a thumb's size
    sides = ['Upper', 'Lower'] if layout == 'stacked' else ['Left', 'Right']
    assert [b.inner_text() for b in page.query_selector_all('#answers b')] == sides
    page.tap('#answers button:nth-child(1)')
    page.wait_for_selector(NEXT)
    assert re.fullmatch(rf"(Yes|No)\. The ({'|'.join(sides).lower()}) one was colorized\.", page.inner_text('#ask'))
    pics, rest = inside(page, '#pictures img'), inside(page, '#ask, #next')
    assert max(p[1] + p[3] for p in pics) <= min(r[1] for r in rest) and scrolls() == [0, 0]
    assert not page.wrong
    page.context.close()

@pytest.mark.slow
def test_forms_over_plain_http(browser, tmp_path):
    "Where a browser sends no Sec-Fetch-Site, to a name over http, our own forms still come through, and others do not"
    new_study(tmp_path/'study')
    server = Server(tmp_path/'study')
    try:
        rules = '--host-resolver-rules=MAP lab.example 127.0.0.1,MAP evil.example 127.0.0.1'
        b = launch(SimpleNamespace(chromium=browser.browser_type), [rules]) # one playwright at a time
        page, sent = b.new_page(), []
        page.on('request', lambda r: sent.append(r.all_headers()) if r.method == 'POST' else None)
        page.goto(server.url.replace('127.0.0.1', 'lab.example'))
        page.click('text=I agree')
        page.wait_for_selector(CARD)
        assert 'sec-fetch-site' not in sent[0] and sent[0]['origin'] == f'http://lab.example:{server.port}'
        form = f'<form method=post action="{server.url.replace("127.0.0.1", "lab.example")}begin"><button>x</form>'
        page.route('http://evil.example/', lambda r: r.fulfill(body=form, content_type='text/html'))
        page.goto('http://evil.example/')
        page.click('button')
        page.wait_for_selector('text=sent from another site')
        assert sent[-1]['origin'] == 'http://evil.example'
        answers = Answers(tmp_path/'study'/'answers.sqlite')
        assert len(answers.participants()) == 1
        answers.close()
        b.close()
    finally: server.kill()

@pytest.mark.slow
def test_single_pictures_on_a_phone(browser, tmp_path):
    study = new_study(tmp_path/'study', design='single', exposure=None)
    server = Server(tmp_path/'study')
    try:
        page = visit(browser, server, viewport=dict(width=360, height=640), has_touch=True, is_mobile=True)
        page.tap('#go')
        for t in study.plan(0):
            page.wait_for_selector('[data-state=open]')
            before = inside(page, '#pictures img, #answers button')
            assert page.evaluate(SHOWN) == list(t.shown)
            assert page.is_visible('#pictures img') # answered while one looks
            if t.number == 3: page.wait_for_timeout(400)
            page.tap(f'#answers [data-choice={t.right}]')
            if t.kind == 'practice':
                page.wait_for_selector(NEXT)
                told = 'Yes. These are its true colours.' if t.right == 'real' else 'Yes. It was colorized.'
                assert page.inner_text('#ask') == told
                assert inside(page, '#pictures img') == before[:1] # it stays where it was
                page.tap('#next')
            if t.number == 1: page.wait_for_selector(CARD); page.tap('#go')
        page.wait_for_selector(END)
        assert 'right about 4 of 4 pictures' in page.inner_text('main') and not page.wrong
        rows = stored(server, 0)
        assert [r['choice'] for r in rows] == [t.right for t in study.plan(0)]
        assert rows[3]['exposure_ms'] >= 400 and all(abs(r['exposure_ms'] - r['response_ms']) < 20 for r in rows)
        page.context.close()
    finally: server.kill()

@pytest.mark.slow
def test_made_by_the_command_in_a_browser(browser, tmp_path):
    "From the packaged photographs to a report, through the commands"
    done = call('make', tmp_path/'s', '--exposure', '.1', '--size', '128', '--title', 'Is it <b>real</b>?')
    assert done.returncode == 0, done.stderr
    token = (tmp_path/'s'/'token').read_text().strip()
    server = Server(tmp_path/'s')
    try:
        page = visit(browser, server)
        assert page.title() == 'Is it <b>real</b>?'
        page.click('#go')
        pass_practice(page)
        for _ in range(3): answer_one(page)
        page.wait_for_selector(ASKED)
        page.goto(server.url + 'report')
        page.fill('#token', 'guess')
        page.click('text=Show the report')
        page.wait_for_selector('text=does not open the report')
        page.fill('#token', token)
        with page.expect_download() as got: page.click('text=All answers as CSV')
        assert len(Path(got.value.path()).read_text(encoding='utf-8').splitlines()) == 1 + 5
        page.wrong.clear() # the refusal was noted
        page.fill('#token', token)
        page.click('text=Show the report')
        page.wait_for_selector('h1')
        assert page.url == server.url + 'report'
        assert 'default' in page.inner_text('body')
        assert not page.wrong
        assert token not in page.content()
    finally: server.kill()

# Twenty people at once, a server that is killed twice

PEOPLE, STYLES = 20, ('mouse', 'double click', 'keyboard', 'touch', 'loads again')

# Tells of cards, questions and feedback when they come: twenty drivers that look again and again would be too slow
TELL = QUICK + f'''addEventListener('DOMContentLoaded', () => {{ const now = () => document.body.dataset.state
  const say = () => {{ if (['card', 'asked', 'told'].includes(now())) __tell([now(), {SHOWN}]) }}
  new MutationObserver(say).observe(document.body, {{attributes: true, attributeFilter: ['data-state']}})
  if (now() === undefined) __tell([document.querySelector('h1').textContent, []]); else say() }})'''

class Person:
    "Somebody of known bias, who knows from the key what is which"
    def __init__(self, i): self.style, self.given = STYLES[i % len(STYLES)], {}

    def choice(self, t):
        fooled = t.kind == 'trial' and chance(self.serial, t.number) < RATES[t.condition]
        return {'left': 'right', 'right': 'left'}[t.right] if fooled else t.right

    async def begin(self, browser, server, study):
        device = dict(viewport=dict(width=640, height=480))
        if self.style == 'touch': device = dict(viewport=dict(width=360, height=640), has_touch=True, is_mobile=True)
        context = await browser.new_context(**device)
        self.page, self.states, self.failed, self.loading = await context.new_page(), asyncio.Queue(), 0, False
        self.page.set_default_timeout(60_000)
        self.page.on('requestfailed', self.fail)
        await context.expose_binding('__tell', lambda source, what: self.states.put_nowait(what))
        await context.add_init_script(TELL)
        await self.page.goto(server.url)
        await self.page.click('text=I agree')
        self.serial = serial_of(await context.cookies(), server)
        self.by_shown = {t.shown: t for t in study.plan(self.serial)}

    def fail(self, request):
        self.failed += request.url.endswith('answer')
        if request.is_navigation_request() and not self.loading: asyncio.ensure_future(self.load_again())

    async def load_again(self):
        "Until there is a page again, as people do"
        self.loading = True
        while self.loading:
            try: await self.page.reload(); self.loading = False
            except playwright.Error: await asyncio.sleep(.3)

    async def press(self, t):
        b = f"#answers [data-choice={self.given[t.number]}]"
        if self.style == 'keyboard':
            await self.page.keyboard.press({'left': 'ArrowLeft', 'right': '2'}[self.given[t.number]])
        elif self.style == 'touch': await self.page.tap(b)
        elif self.style == 'double click': await self.page.locator(b).dblclick(no_wait_after=True)
        else: await self.page.click(b)

    async def take_part(self):
        again = set()
        while True:
            state, shown = await asyncio.wait_for(self.states.get(), 60)
            if state == 'card': await self.page.keyboard.press('Enter')
            elif state == 'told': await self.page.click('#next')
            elif state == 'asked':
                t = self.by_shown[tuple(shown)]
                if self.style == 'loads again' and t.number % 5 == 3 and t.number not in again:
                    again.add(t.number)
                    await self.load_again()
                    continue
                assert t.number not in self.given, f'{self.serial} was asked {t.number} twice'
                self.given[t.number] = self.choice(t)
                await self.press(t)
            elif state == 'Thank you': return state

async def crowd(server, study):
    from playwright.async_api import async_playwright
    async with async_playwright() as p:
        browser = await launch(p)
        people = [Person(i) for i in range(PEOPLE)]
        await asyncio.gather(*(person.begin(browser, server, study) for person in people))
        assert sorted(person.serial for person in people) == list(range(PEOPLE))
        async def kill():
            answers, total = Answers(server.folder/'answers.sqlite'), PEOPLE*len(study.plan(0))
            for share in .3, .6:
                while len(answers.rows()) < share*total: await asyncio.sleep(.05)
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(.7)
                await asyncio.to_thread(server.start)
            answers.close()
        *ends, _ = await asyncio.gather(*(person.take_part() for person in people), kill())
        await browser.close()
    return people, ends

@pytest.mark.slow
def test_twenty_people_and_a_server_that_dies(tmp_path):
    # these people are quick, and this machine slow
    if playwright is None: pytest.skip('no playwright: pip install playwright')
    study = new_study(tmp_path/'study', n=20, trials=10, practice=1, checks=1,
                      rules=dict(min_response_ms=None, max_exposure_error=None))
    server = Server(tmp_path/'study')
    try:
        with ThreadPoolExecutor(1) as pool:
            people, ends = pool.submit(lambda: asyncio.run(crowd(server, study))).result()
    finally: server.kill()
    assert ends == ['Thank you']*PEOPLE and sum(p.failed for p in people) > 5 # many met the dead server
    rows = stored(server, None)
    given = {(p.serial, n): c for p in people for n, c in p.given.items()}
    assert len(rows) == len(given) == PEOPLE*12
    assert {(r['participant'], r['number']): r['choice'] for r in rows} == given
    rates = check_report(tmp_path/'study', tmp_path/'out', given, study)
    for m, bias in RATES.items(): assert rates[m]['low'] <= bias <= rates[m]['high'] and rates[m]['answers'] == PEOPLE*5
    assert rates['weak']['high'] < rates['good']['low'] # and tells them apart
    again = {r['participant'] for r in rows if r['shows'] > 1}
    assert {p.style for p in people if p.serial in again} <= {'loads again'}
