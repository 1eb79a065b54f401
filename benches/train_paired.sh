#!/usr/bin/env bash
# Training against PEFT, in turn, whole processes on the same pre-tokenised rows and the same start adapter.
#
#   BILLON=target/release/billon PYTHON=python bash benches/train_paired.sh WORK INSTRUCT_MODEL DATA [STEPS] [FPB_STEPS]
#
# WORK gets everything that is made: a random model of SmolLM-135M's shape, rows, recipes, outcomes, report/.
# INSTRUCT_MODEL is a SmolLM2-135M-Instruct directory, DATA the folder that holds fpb/train.jsonl. Two workloads of
# batches of 8: `tokens` (256 random tokens a row, all trained) and `fpb` (news sentences asked as chats, loss on the
# answer only). Every program runs once with one step and once with all, so that loading can be taken off.
# SIDES="billon peft" (default) chooses who runs, THREADS (2) on how many threads.
set -euo pipefail
work=$(mkdir -p "$1" && cd "$1" && pwd) instruct=$(cd "$2" && pwd) data=$(cd "$3" && pwd)
steps=${4:-8} fpb_steps=${5:-40} threads=${THREADS:-2} batch=8
here=$(cd "$(dirname "$0")" && pwd)
peft() { HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=$threads "$PYTHON" "$here/train_peft.py" "$@"; }
times=$work/times.tsv
: > "$times"

[ -d "$work/random" ] || peft model "$work/random"
# The rows are tokens already, but a model without a tokenizer is none.
cp "$instruct"/tokenizer*.json "$work/random"
[ -d "$work/random-start" ] || peft start "$work/random" "$work/random-start"
[ -d "$work/instruct-start" ] || peft start "$instruct" "$work/instruct-start"
peft random-rows "$work/tokens.jsonl" --rows $((steps * batch))
peft task-rows "$instruct" "$data/fpb/train.jsonl" "$here/../recipes/tasks/fpb.yaml" "$work/fpb.jsonl" --rows $((fpb_steps * batch))

# run WORKLOAD PROGRAM STEPS OUTCOME COMMAND...: times a process and notes its figures.
run() {
    local workload=$1 program=$2 count=$3 outcome=$4
    shift 4
    /usr/bin/time -o "$work/time" -f "%e\t%U\t%S\t%M" "$@" > "$work/last.log" 2>&1 || { tail -20 "$work/last.log"; exit 1; }
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$workload" "$program" "$count" "$batch" "$work/$workload.jsonl" "$outcome" \
        "$(tail -1 "$work/time")" >> "$times"
    tail -1 "$times" | cut -f 1-3,7-
}

for workload in tokens fpb; do
    if [ $workload = tokens ]; then model=$work/random start=$work/random-start all=$steps
    else model=$instruct start=$work/instruct-start all=$fpb_steps; fi
    for count in 1 "$all"; do
        for side in ${SIDES:-billon peft}; do
            out=$work/$side-$workload-$count
            rm -rf "$out" "$out.json"
            if [ "$side" = peft ]; then
                run $workload peft "$count" "$out.json" env HF_HUB_OFFLINE=1 OMP_NUM_THREADS="$threads" "$PYTHON" \
                    "$here/train_peft.py" train "$model" "$start" "$work/$workload.jsonl" --steps "$count" \
                    --batch $batch --threads "$threads" --out "$out.json"
            else
                peft recipe "$model" "$start" "$work/$workload.jsonl" --steps "$count" --batch $batch --out "$out.yml"
                run $workload billon "$count" "$out" "$BILLON" train "$out.yml" --out "$out" --threads "$threads" --quiet
            fi
        done
    done
done
peft report "$times" --out "$work/report"
