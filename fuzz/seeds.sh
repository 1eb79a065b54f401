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
