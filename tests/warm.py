"""Commands in forks of a process that has imported what they need, asked as `subprocess` is asked.

A command that trains or measures spends most of its seconds on importing PyTorch and fastai. Python's own forkserver
does that once for all tests of a pytest worker; each command is then a process of its own, with its own arguments,
folder, environment, streams and signals. What a command imports and how it starts is tested by true processes, which
are taken for all where there is no fork."""
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading

PRELOAD = ['colorize_nb.all', 'colorize_nb.train.run', 'colorize_nb.evaluate.run', 'colorize_nb.study.app', 'uvicorn',
           'nbconvert', 'nbdev.serve', 'pypandoc']

def begin(words, script, code, cwd, env, out, err):
    "What the child does: `python -m colorize_nb WORDS`, `python SCRIPT WORDS` or `python -c CODE WORDS`"
    for i, pipe in enumerate((out, err), 1): os.dup2(pipe.fileno(), i)
    sys.stdout, sys.stderr = (open(i, 'w', encoding='utf-8', buffering=1, closefd=False) for i in (1, 2))
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler) # ignored by what a shell starts in the background
    sys.argv = [script or ('-c' if code else 'colorize-nb'), *words]
    if script:
        sys.path.insert(0, os.path.dirname(script))
        runpy.run_path(script, run_name='__main__')
    elif code: exec(compile(code, '<string>', 'exec'), {'__name__': '__main__'})
    else: runpy.run_module('colorize_nb', run_name='__main__', alter_sys=True)

class Fork:
    "`colorize-nb WORDS`, or a script or code with them, as `subprocess.Popen` would start it, both streams as pipes"
    def __init__(self, *words, script=None, code=None, cwd=None, env=None):
        self.args = list(map(str, words))
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload(PRELOAD)
        (out, out_end), (err, err_end) = context.Pipe(False), context.Pipe(False)
        how = self.args, script and str(script), code, str(cwd or os.getcwd()), dict(env or os.environ)
        self.process = context.Process(target=begin, args=(*how, out_end, err_end))
        self.process.start()
        self.stdout, self.stderr = (open(os.dup(o.fileno()), encoding='utf-8') for o in (out, err))
        for o in out, out_end, err, err_end: o.close()

    @property
    def pid(self): return self.process.pid
    @property
    def returncode(self): return self.process.exitcode
    def poll(self): return self.returncode
    def kill(self): self.process.kill()
    def send_signal(self, sig): os.kill(self.pid, sig)

    def wait(self, timeout=None):
        self.process.join(timeout)
        if self.returncode is None: raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout=None):
        "All that comes from both streams, until the end"
        said = ['', '']
        def read(i, stream):
            with stream: said[i] = stream.read()
        readers = [threading.Thread(target=read, args=o, daemon=True) for o in enumerate((self.stdout, self.stderr))]
        for o in readers: o.start()
        for o in readers: o.join(timeout)
        if any(o.is_alive() for o in readers): raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(timeout)
        return tuple(said)

def start(*words, script=None, code=None, cwd=None, env=None):
    "Begin a command; what comes back knows `communicate`, `send_signal`, `wait` and `kill`"
    if hasattr(os, 'fork'): return Fork(*words, script=script, code=code, cwd=cwd, env=env)
    what = ['-c', code] if code else [script] if script else ['-m', 'colorize_nb']
    return subprocess.Popen([sys.executable, *map(str, [*what, *words])], cwd=cwd, env=env, text=True, encoding='utf-8',
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)

def run(*words, timeout=None, **kwargs):
    "Do a command, and return what `subprocess.run` would"
    p = start(*words, **kwargs)
    try: out, err = p.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        p.kill()
        raise
    return subprocess.CompletedProcess(words, p.returncode, out, err)
