"""Start the double-click program as a person would, and look whether it works: python try_program.py FILE"""
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request
import uuid
from pathlib import Path

MOST = 300_000_000 # bytes of the file

def gray_picture(side=64):
    "The bytes of a gray ramp as PGM (portable graymap): needs no library"
    return b'P5 %d %d 255\n' % (side, side) + bytes(4*x*255//(4*side) for _ in range(side) for x in range(side))

def post_picture(url, data):
    "Send a picture to the API; the answer's bytes"
    edge = uuid.uuid4().hex
    body = (f'--{edge}\r\ncontent-disposition: form-data; name="picture"; filename="ramp.pgm"\r\n\r\n').encode()
    body += data + f'\r\n--{edge}--\r\n'.encode()
    request = urllib.request.Request(f'{url}api/colorize', body,
                                     {'content-type': f'multipart/form-data; boundary={edge}'})
    with urllib.request.urlopen(request, timeout=120) as r: return r.read()

def get(url):
    with urllib.request.urlopen(url, timeout=60) as r: return r.read()

def try_program(path):
    "Raise what is wrong with the program"
    size = path.stat().st_size
    assert size < MOST, f'{size/1e6:.0f} MB, at most {MOST/1e6:.0f}'
    said = subprocess.run([path, '--version'], capture_output=True, text=True, timeout=300, check=True).stdout
    assert said.startswith('colorize_nb '), said
    with tempfile.TemporaryDirectory() as home: # nothing of this machine's Python is there to help
        env = {k: v for k, v in os.environ.items() if not k.startswith('PYTHON')} | dict(BROWSER='none')
        run = subprocess.Popen([path, 'app', '--port', '0', '--no-browser'], cwd=home, env=env,
                               stderr=subprocess.PIPE, text=True)
        stop = threading.Timer(300, run.kill)
        stop.start()
        try:
            line = run.stderr.readline()
            url = re.search(r'http://127\.0\.0\.1:\d+/', line)[0]
            assert json.loads(get(f'{url}healthz'))['status'] == 'ok'
            assert b'app.js' in get(url) and b'fetch' in get(f'{url}web/app.js')
            assert post_picture(url, gray_picture())[:4] == b'\x89PNG'
            names = [m['name'] for m in json.loads(get(f'{url}api/models'))]
        finally:
            stop.cancel()
            run.terminate()
            run.wait(60)
    print(f'{path.name}: {size/1e6:.0f} MB, {said.strip()}, models {", ".join(names)}, page and API work')

if __name__ == '__main__': try_program(Path(sys.argv[1]).resolve())
