#!/usr/bin/env bash
# Evaluation against lm-evaluation-harness, in turn, whole processes. The harness is timed by its own model calls.
#
#   BILLON=target/release/billon PYTHON=python bash benches/eval_paired.sh PEERS THREADS HARNESS_DOCS BILLON_DOCS TASK...
#
# PEERS is a folder with `lmeval_bench.py`, a model folder `smol135m` and `tasks/TASK.yaml`.
set -euo pipefail
cd "$1"
threads=$2 harness=$3 documents=$4
shift 4
ours() {
    /usr/bin/time -f "billon $1 documents $2 wall %e user %U sys %S peak_kb %M" "$BILLON" eval smol135m \
        --tasks "tasks/$1.yaml" --no-cache --quiet --threads "$threads" --limit "$2" 2>&1 >/dev/null | tail -1
}
for task in "$@"; do
    ours "$task" "$documents"
    T=$threads "$PYTHON" lmeval_bench.py smol135m "$task" 8 "$harness" 2>/dev/null | tail -1
    ours "$task" "$documents"
done
ours "$1" 1
