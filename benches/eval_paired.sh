#!/usr/bin/env bash
# Evaluation against lm-evaluation-harness, in turn, whole processes. The harness is timed by its own model calls.
#
#   BILLON=target/release/billon PYTHON=python bash benches/eval_paired.sh PEERS THREADS HARNESS_DOCS BILLON_DOCS TASK...
#
# PEERS is a folder with `lmeval_bench.py`, a model folder `smol135m` and `tasks/TASK.yaml`. MODELS lists the model folders
# that billon scores, the harness the first: `MODELS="smol135m smol135m-bf16"`. ROUNDS of everything, one unless set.
set -euo pipefail
cd "$1"
threads=$2 harness=$3 documents=$4
shift 4
read -ra models <<<"${MODELS:-smol135m}"
ours() {
    /usr/bin/time -f "billon $1 $2 documents $3 wall %e user %U sys %S peak_kb %M" "$BILLON" eval "$1" \
        --tasks "tasks/$2.yaml" --no-cache --quiet --threads "$threads" --limit "$3" 2>&1 >/dev/null | tail -1
}
for ((round = 0; round < ${ROUNDS:-1}; round++)); do
    for task in "$@"; do
        for model in "${models[@]}"; do ours "$model" "$task" "$documents"; done
        T=$threads "$PYTHON" lmeval_bench.py "${models[0]}" "$task" 8 "$harness" 2>/dev/null | tail -1
        ours "${models[0]}" "$task" "$documents"
    done
done
for model in "${models[@]}"; do ours "$model" "$1" 1; done
