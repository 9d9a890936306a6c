#!/usr/bin/env bash
# A quarter of an hour with a GPU, or a day: pack the pictures, train on them, time the steps, judge the model. Nothing
# has to be thought of on the day; everything goes into one folder, with gpu.csv (what the GPU did) and summary.txt.
#
#   experiments/gpu_day.sh VALID OUT DATA...     VALID: folder of pictures to judge by; DATA: folders, tar files, patterns
#   SMOKE=1 experiments/gpu_day.sh [- OUT]       the rehearsal: a few pieces of pictures, small, on a CPU, minutes
#
# MINUTES (10) of training, RECIPE (old-trial-160), SIZE and BATCH (the recipe's, unless set), PACK=1 to make shards of
# DATA first (large photographs), BENCH=0 to leave the timing out, MORE for further options of `train`, PYTHON.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python}
smoke=${SMOKE:-0}
minutes=${MINUTES:-10}
recipe=${RECIPE:-old-trial-160}
bench=${BENCH:-$((1 - smoke))}
pack=${PACK:-$smoke}
trial=${TRIAL:-60} # steps that are timed before
options=(--bf16 ${MORE:-})
nb() { "$python" -m colorize_nb "$@"; }
say() { echo "$(date +%T) $*" | tee -a "$out/summary.txt"; }

if [ "$smoke" = 1 ]; then
    out=${2:-$(mktemp -d)}
    mkdir -p "$out"
    "$python" - "$out" <<'PYTHON'
import sys
from pathlib import Path
from colorize_nb.io.samples import sample, samples
for part, names in ('photos', samples()[:-2]), ('valid', samples()[-2:]):
    folder = Path(sys.argv[1], part)
    folder.mkdir(exist_ok=True)
    for name in names:
        for i in range(6): sample(name).crop((16*i, 9*i, 16*i + 200, 9*i + 160)).save(folder/f'{name}-{i}.jpg')
PYTHON
    valid=$out/valid
    data=("$out/photos")
    minutes=${MINUTES:-0.2}
    trial=${TRIAL:-5}
    options=(--size 64 --batch-size 4 --device cpu ${MORE:-})
else
    [ $# -ge 3 ] || { sed -n 2,9p "$0"; exit 2; }
    valid=$1
    out=$2
    shift 2
    data=("$@")
    mkdir -p "$out"
    options+=(${SIZE:+--size "$SIZE"} ${BATCH:+--batch-size "$BATCH"})
fi
cd "$here"
if command -v nvidia-smi > /dev/null && nvidia-smi > /dev/null 2>&1; then
    nvidia-smi --query-gpu=timestamp,name,utilization.gpu,memory.used --format=csv -l 2 > "$out/gpu.csv" &
    watching=$!
    trap 'kill "$watching" 2> /dev/null || true' EXIT
fi

if [ "$pack" = 1 ]; then
    say "packing ${data[*]}"
    nb shards "${data[@]}" --out "$out/shards" --size $((smoke ? 64 : 192)) | tee "$out/shards.log"
    data=("$out/shards")
fi
sources=()
for d in "${data[@]}"; do sources+=(--data "$d"); done
train() { # FOLDER STEPS
    nb train "$recipe" "${sources[@]}" --valid "$valid" --out "$1" --steps "$2" --cache "$out/pictures.cache" \
        --valid-limit 200 --logger csv "${options[@]}" | tee "$1.log"
}
say "a trial of $trial steps"
train "$out/trial" "$trial"
step=$(grep -o '[0-9.e+-]* s a step' "$out/trial.log" | head -n 1 | cut -d ' ' -f 1)
steps=$("$python" -c "print(max(4, round(60*$minutes/$step)))")
say "$step s a step: $steps steps in $minutes minutes"
start=$(date +%s.%N)
train "$out/run" "$steps"
end=$(date +%s.%N)
"$python" - "$out" "$steps" "$start" "$end" <<'PYTHON' | tee -a "$out/summary.txt"
import csv, json, re, sys
from pathlib import Path
out, steps, start, end = Path(sys.argv[1]), *map(float, sys.argv[2:])
settings = json.loads((out/'run'/'settings.json').read_text())
bs, log = settings['recipe']['bs'], (out/'run.log').read_text()
step = float(re.search(r'([\d.e+-]+) s a step', log)[1])
print(f'{steps:.0f} steps of {bs} pictures: {bs/step:.1f} pictures a second by the first steps, '
      f'{steps*bs/(end - start):.1f} with start, validation and end')
print(re.search(r'[\d.]+ GB of (GPU )?memory', log)[0])
if (out/'gpu.csv').exists():
    rows = list(csv.reader((out/'gpu.csv').open()))[1:]
    used, memory = ([float(r[i].split()[0]) for r in rows if len(r) == 4] for i in (2, 3))
    print(f'{rows[0][1].strip()}: busy {sum(used)/len(used):.0f} % of the time, {max(memory):.0f} MiB at most')
print(re.search(r'PSNR .*', log)[0])
PYTHON
if [ "$bench" = 1 ]; then
    say 'timing a step with data at hand, and with the loaders'
    (cd bench && "$python" run.py train --quick) | tee "$out/bench.log"
fi
say 'judging the model'
nb evaluate --model "trained=$out/run/model.safetensors" --model default --data "$valid" --out "$out/evaluation" \
    | tee "$out/evaluation.log"
say "done: $out"
