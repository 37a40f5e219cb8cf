#!/usr/bin/env bash
# What only a GPU shows: the tests of a GPU, the benchmark of training, and a study of 60 runs; in that order, each with
# its own time limit, under 8 minutes in all. The figures go to one file.
#
#     [PYTHON=python] [DATA=folder of data sets] [BEFORE=checkout of earlier code] tests/benchmarks/gpu_check.sh [FILE]
#
# BEFORE: the same study by that code too, at 13 processes that share the GPU in time slices, to compare with.
set -u
cd "$(dirname "$0")/../.."
file=$(realpath "${1:-${OUT:-/tmp}/gpu_check.txt}")
python=${PYTHON:-python}
data=$(realpath "${DATA:-${SCALING_DATA_DIR:-shared/data}}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$PWD OMP_NUM_THREADS=1 TORCHINDUCTOR_CACHE_DIR=$work/inductor

part() { # seconds, title, command...
    local limit=$1 title=$2 began=$SECONDS status
    shift 2
    echo "== $title (at most $limit s)"
    timeout --signal=INT --kill-after=5 "$limit" "$@" 2>&1
    status=$?
    echo "== $title: status $status after $((SECONDS - began)) s"
}

study() { # folder of the code, share of the GPU that each run asks for
    sed "s/gpus_per_worker: .*}/gpus_per_worker: $2}/" tests/benchmarks/gpu_study.yaml > "$work/study.yaml"
    echo "storage: $work/$2" >> "$work/study.yaml"
    (cd "$1" && PYTHONPATH=$1 exec "$python" -m jobs.cli run "$work/study.yaml" --data-dir "$data" --no-mlflow)
}

{
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
    part 130 tests "$python" -m pytest -q -x -n 0 --no-header tests/scaling/train/test_cuda.py
    part 230 benchmark "$python" tests/benchmarks/bench_training.py --device cuda --seconds 1.5
    if [ -d "$data/cifar10" ]; then
        export -f study
        export work python data
        part 60 "study, side by side" bash -c "study '$PWD' 0.0625"
        if [ -n "${BEFORE:-}" ]; then
            part 180 "study, earlier code in 13 processes" bash -c "study '$BEFORE' 0.07"
        fi
    else
        echo "== study: left out, no cifar10 in $data"
    fi
} | tee "$file"
