"Times of several contestants in one run, turn by turn, so that whatever slows the machine slows them all."
import re
import sys
import time
from pathlib import Path
from statistics import median

def interleaved(
    contestants:dict, # name -> function without arguments; where it returns seconds, those count
    rounds:int=15, # rounds that count
    warmup:int=2, # rounds that do not
)->dict: # name -> list of seconds, one for each round
    "Time each contestant once a round, starting with another one each round."
    names, times = list(contestants), {n: [] for n in contestants}
    for r in range(-warmup, rounds):
        k = r % len(names)
        for n in names[k:] + names[:k]:
            start = time.perf_counter()
            own = contestants[n]()
            if r >= 0: times[n].append(own if isinstance(own, float) else time.perf_counter() - start)
    return times

def compare(
    times:dict, # from `interleaved`; the first name is ours
)->dict: # name -> median milliseconds, and median over the rounds of its time divided by ours
    "Medians, and ratios taken within each round."
    ours = next(iter(times.values()))
    return {n: dict(ms=round(1e3*median(t), 2), by_ours=round(median(a/b for a, b in zip(t, ours)), 3))
            for n, t in times.items()}

def peak_megabytes(): # 10^6 bytes
    "What this process has held at most; on Linux `ru_maxrss` would count what its parent held too"
    try: return 1024*int(re.search(r'VmHWM:\s+(\d+) kB', Path('/proc/self/status').read_text())[1])/1e6
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*(1 if sys.platform == 'darwin' else 1024)/1e6
