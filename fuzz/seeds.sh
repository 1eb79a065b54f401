#!/usr/bin/env bash
# Fills fuzz/corpus from the fixtures, the recipes and a few texts of its own; it is not kept in git.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p fuzz/corpus/header fuzz/corpus/recipe

# A leading zero byte: the rest is a whole file. `\1` and two bytes of data length: the rest is the JSON.
for file in $(find fixtures -name '*.safetensors' -size -64k); do
    { printf '\0'; cat "$file"; } > "fuzz/corpus/header/$(echo "$file" | tr / _)"
done
json() { printf '\1\'"$2"'\0%s' "$3" > "fuzz/corpus/header/$1"; }
json scalar 004 '{"w":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}'
json pair 030 '{"__metadata__":{"format":"pt"},"a":{"dtype":"F64","shape":[2],"data_offsets":[8,24]},"b":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}}'
json empty 000 '{"e":{"dtype":"U8","shape":[0,3],"data_offsets":[0,0]}}'
json packed 003 '{"w":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]},"x":{"dtype":"F4","shape":[0],"data_offsets":[3,3],"more":[1,{"y":null}]}}'

for file in recipes/*.yml; do
    [ -e "$file" ] && { printf 'a'; cat "$file"; } > "fuzz/corpus/recipe/$(basename "$file")"
done
cat > fuzz/corpus/recipe/slices <<'END'
aslices:
  - sources:
      - {model: a@main, layer_range: [0, 2], parameters: {weight: [0, 0.5, 1]}}
      - model: {model: {path: b, revision: x}, lora: {path: c}}
        layer_range: [0, 2]
merge_method: linear
parameters:
  normalize: true
  density: [{filter: attn, value: 0.5}, {value: 1e-3}]
base_model: &base a
dtype: bfloat16
---
merge_method: ties
models: [{model: *base}, {model: d+e, parameters: {<<: {weight: 1}}}]
tokenizer: {source: union, tokens: {}}
END

# Adapters, results: two bytes of length, that many bytes, and the rest. Adapter weights are the JSON of a header alone.
mkdir -p fuzz/corpus/{adapter,gguf,lock,results,task,template}
parts() { # corpus/name first second
    python3 - "fuzz/corpus/$1" "$2" "$3" <<'PYTHON'
import sys
first, second = (open(path, "rb").read() for path in sys.argv[2:])
if first and len(first) < 65536:
    open(sys.argv[1], "wb").write(len(first).to_bytes(2, "little") + first + second)
PYTHON
}
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
for folder in fixtures/models/adapters/*/; do
    name=$(basename "$folder")
    [ -e "$folder/adapter_config.json" ] || continue
    echo '{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight":{"dtype":"F32","shape":[8,8],"data_offsets":[0,256]},"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight":{"dtype":"F32","shape":[8,8],"data_offsets":[256,4096]}}' > "$work/header"
    parts "adapter/$name" "$folder/adapter_config.json" "$work/header"
done
for file in fixtures/results/harness/results_*.json; do
    parts results/harness "$file" "$(ls fixtures/results/harness/samples_*.jsonl | head -1)"
done
cat > "$work/results" <<'END'
{"results": {"t": {"alias": "t", "acc,none": 1.0, "acc_stderr,none": "N/A"}}, "group_subtasks": {"g": ["t"]}, "configs": {"t": {"task": "t"}}, "higher_is_better": {"t": {"acc": true}}}
END
cat > "$work/samples" <<'END'
{"doc_id": 0, "doc": {}, "target": "0", "arguments": {}, "resps": [[["-1.0", "True"]]], "filtered_resps": [["-1.0", "True"]], "filter": "none", "metrics": ["acc"], "doc_hash": "a", "prompt_hash": "b", "target_hash": "c", "acc": 1.0}
END
parts results/small "$work/results" "$work/samples"

# Two bytes of data length (in blocks of 64), then the header.
for file in fixtures/gguf/*.gguf; do
    { printf '\377\377'; head -c 4000 "$file"; } > "fuzz/corpus/gguf/$(basename "$file")"
done

cat > fuzz/corpus/lock/small <<'END'
{"lock_version": 1, "billon_version": "0.1.0", "seed": 0, "options": {}, "recipe": "merge_method: linear\n", "stages": [], "inputs": {}, "outputs": {"model.safetensors": {"bytes": 8, "sha256": null}}}
END
cp fixtures/tasks/prompts/*.yaml fuzz/corpus/task/
cat > fuzz/corpus/task/whole <<'END'
task: t
dataset_path: json
dataset_kwargs: {data_files: {test: d.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{text}}\nMove:"
doc_to_target: label
doc_to_choice: ["up", "down"]
num_fewshot: 1
fewshot_config: {sampler: first_n}
END
for file in fixtures/chat/*.jinja fixtures/eval/model/chat_template.jinja; do
    { printf '\1'; cat "$file"; } > "fuzz/corpus/template/$(basename "$(dirname "$file")")-$(basename "$file")"
done
