"""Give the page "Try it" of the built site what it fetches: its script, two packaged models, and onnxruntime-web, which
npm fetches once into build/npm. Quarto calls this after rendering: `post-render` in _quarto.yml; the build without
Quarto calls `serve`.
"""
import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = '1.30.0'
INTEGRITY = 'q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==' # its SHA-512
MODELS = 'default', 'paintings' # between which the page lets its reader choose
FILES = 'model.onnx', 'model.safetensors', 'model.json' # the graph, its weights, and what it says of itself
RUNTIME = 'ort.wasm.bundle.min.mjs', 'ort-wasm-simd-threaded.wasm' # of its folder `dist`: what computes on the CPU

class NotFetchedError(Exception):
    "The package cannot be had; the message is one sentence with the remedy"

def archive(cache, version=VERSION, integrity=INTEGRITY):
    "The archive of onnxruntime-web in the folder `cache`, fetched by npm if it is not there"
    path = Path(cache)/f'onnxruntime-web-{version}.tgz'
    if not path.exists():
        npm = shutil.which('npm')
        if npm is None: raise NotFetchedError('onnxruntime-web is fetched by npm, which is not here: install Node.js')
        path.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([npm, 'pack', f'onnxruntime-web@{version}', '--silent'], cwd=cache, capture_output=True,
                              text=True, encoding='utf-8')
        if done.returncode or not path.exists():
            why = ' '.join(done.stderr.split())[:200]
            raise NotFetchedError(f"npm could not fetch onnxruntime-web {version} ({why}): look at the network, then "
                                  "build again")
    found = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if found != integrity:
        raise NotFetchedError(f'{path} is not the onnxruntime-web {version} that was reviewed: remove it, then build '
                              'again')
    return path

def serve(out, root=ROOT, runtime=None):
    "Put what the page fetches into the folder `try_it` of the site `out`; `runtime`: the archive, if it is at hand"
    out, weights = Path(out)/'try_it', Path(root)/'colorize_nb'/'weights'
    for name in MODELS:
        (out/name).mkdir(parents=True, exist_ok=True)
        for file in FILES: shutil.copy(weights/name/file, out/name)
    shutil.copy(Path(root)/'nbs'/'try_it'/'try_it.js', out)
    with tarfile.open(runtime or archive(Path(root)/'build'/'npm')) as tar:
        for name in RUNTIME:
            with tar.extractfile(f'package/dist/{name}') as f, open(out/name, 'wb') as to: shutil.copyfileobj(f, to)

if __name__ == '__main__':
    try: serve(sys.argv[1] if len(sys.argv) > 1 else os.environ['QUARTO_PROJECT_OUTPUT_DIR'])
    except NotFetchedError as e: sys.exit(f'try_it: {e}')
    print('try_it: the script, the models and onnxruntime-web are in the site')
