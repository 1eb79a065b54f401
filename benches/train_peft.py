#!/usr/bin/env python3
"""PEFT's side of `train_paired.sh`, and what both sides are given: models, start adapters, pre-tokenised rows.

    train_peft.py model DIR                              a random model of SmolLM-135M's shape
    train_peft.py start MODEL DIR                        PEFT's own start: r 16, alpha 32, all linear layers
    train_peft.py random-rows OUT --rows 64 --length 256 --vocabulary 49152
    train_peft.py task-rows MODEL DATA.jsonl TASK.yml OUT --rows 64
    train_peft.py train MODEL START ROWS --steps 8 --out RUN.json [--batch 8] [--rate 2e-4] [--threads 2]
    train_peft.py recipe MODEL START ROWS --steps 8 --out RECIPE.yml [--batch 8] [--rate 2e-4]
    train_peft.py report TIMES.tsv --out FOLDER

Needs torch, transformers, peft, tokenizers and, for `task-rows`, PyYAML. Rows are `input_ids` and `labels`, -100
where a token carries no loss, so that both programs see the same examples in the same order. PEFT trains as it is
commonly run: batches padded at the end to their longest row, transformers' own loss, eager AdamW, f32, no
checkpointing.
"""
import argparse
import json
import os
import random
import re
import resource
import time
from pathlib import Path

SHAPE = dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
             num_key_value_heads=3, vocab_size=49152, tie_word_embeddings=True, max_position_embeddings=2048,
             rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0)
RANK, ALPHA = 16, 32


def make_model(a):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SHAPE)).float().save_pretrained(a.dir)


def make_start(a):
    import peft
    import torch
    from transformers import AutoModelForCausalLM
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32)
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    peft.get_peft_model(model, config).save_pretrained(a.dir)


def write_rows(path, rows):
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokens = sum(len(row["input_ids"]) for row in rows)
    trained = sum(label != -100 for row in rows for label in row["labels"][1:])
    print(f"{len(rows)} rows, {tokens} tokens, {trained} of them trained")


def random_rows(a):
    generator = random.Random(2)
    rows = [[generator.randrange(3, a.vocabulary) for _ in range(a.length)] for _ in range(a.rows)]
    write_rows(a.out, [dict(input_ids=ids, labels=ids) for ids in rows])


def task_rows(a):
    """Documents as a chat: the task's prompt, the label, the end of the turn; loss on the last two."""
    import yaml
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    task = yaml.safe_load(Path(a.task).read_text())
    documents = [json.loads(line) for line in Path(a.data).read_text().splitlines()]
    random.Random(3).shuffle(documents)
    rows = []
    for document in documents[: a.rows]:
        fill = lambda match: str(document[match.group(1)])
        prompt = re.sub(r"\{\{\s*(\w+)\s*\}\}", fill, task["doc_to_text"])
        turns = [dict(role="user", content=prompt), dict(role="assistant", content=document[task["doc_to_target"]])]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        asked = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
        assert text.startswith(asked), (asked, text)
        # Nothing is trained after the end of the turn.
        text = text.rstrip("\n")
        ids, before = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text, asked))
        assert ids[: len(before)] == before
        rows.append(dict(input_ids=ids, labels=[-100] * len(before) + ids[len(before):]))
    write_rows(a.out, rows)


def read_rows(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def train(a):
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(a.threads)
    import peft
    import torch
    import transformers
    torch.set_num_threads(a.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(model, a.start, is_trainable=True).train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=a.rate, weight_decay=0.0)
    rows, steps = read_rows(a.rows), []
    assert len(rows) >= a.steps * a.batch, f"{len(rows)} rows are too few for {a.steps} steps"
    for step in range(a.steps):
        batch = rows[step * a.batch: (step + 1) * a.batch]
        length = max(len(row["input_ids"]) for row in batch)
        pad = lambda values, with_what: values + [with_what] * (length - len(values))
        ids = torch.tensor([pad(row["input_ids"], 0) for row in batch])
        mask = torch.tensor([pad([1] * len(row["input_ids"]), 0) for row in batch])
        labels = torch.tensor([pad(row["labels"], -100) for row in batch])
        wall, cpu = time.perf_counter(), time.process_time()
        loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        steps.append(dict(step=step + 1, loss=loss.item(), grad_norm=norm.item(), wall=wall, cpu=cpu,
                          tokens=sum(len(row["input_ids"]) for row in batch), padded=ids.numel()))
        print(json.dumps(steps[-1]), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    versions = dict(torch=torch.__version__, peft=peft.__version__, transformers=transformers.__version__)
    Path(a.out).write_text(json.dumps(dict(versions=versions, threads=a.threads, peak_kb=peak, steps=steps), indent=1))


def recipe(a):
    settings = dict(
        base_model=str(Path(a.model).resolve()), adapter="lora", lora_r=RANK, lora_alpha=ALPHA,
        target_modules="all-linear", init_from=str(Path(a.start).resolve()),
        datasets=[dict(path=str(Path(a.rows).resolve()), format="tokenised")], shuffle=False, sample_packing=False,
        micro_batch_size=a.batch, gradient_accumulation_steps=1, max_steps=a.steps, num_epochs=1, val_set_size=0,
        learning_rate=a.rate, lr_scheduler="constant", warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0,
        sequence_len=2048, logging_steps=1, seed=0)
    Path(a.out).write_text(json.dumps(settings, indent=1) + "\n")


def billon_log(folder):
    lines = [json.loads(line) for path in Path(folder).glob("*.jsonl") for line in path.read_text().splitlines()]
    return [line for line in lines if "loss" in line and "grad_norm" in line]


def tokens_of(rows, batch, steps):
    return [sum(len(row["input_ids"]) for row in rows[i * batch: (i + 1) * batch]) for i in range(steps)]


def report(a):
    """A table of speeds and of both loss curves, and a plot of them, for every workload of a times file.

    Lines of the file: workload, program, steps, batch, rows file, outcome (a run's JSON or folder), wall, user,
    system seconds, peak KiB. A program's speed is that of its further steps: tokens of the steps that the long run
    has more than the short one, over the difference of their times, so that loading counts for neither.
    """
    runs = {}
    for line in Path(a.times).read_text().splitlines():
        workload, program, steps, batch, rows, outcome, *figures = line.split("\t")
        wall, user, system, peak = map(float, figures)
        run = dict(steps=int(steps), batch=int(batch), rows=rows, outcome=outcome, wall=wall, cpu=user + system, peak=peak)
        runs.setdefault(workload, {}).setdefault(program, []).append(run)
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    text, data = [], {}
    for workload, programs in runs.items():
        speeds, curves = {}, {}
        for program, all_runs in programs.items():
            long = max(run["steps"] for run in all_runs)
            short = min(run["steps"] for run in all_runs)
            # The least disturbed run of each length.
            best = lambda steps, key: min(run[key] for run in all_runs if run["steps"] == steps)
            whole = next(run for run in all_runs if run["steps"] == long)
            per_step = tokens_of(read_rows(whole["rows"]), whole["batch"], long)
            extra = sum(per_step[short:])
            speeds[program] = dict(
                tokens_per_s=extra / (best(long, "wall") - best(short, "wall")) if long > short else None,
                tokens_per_cpu_s=extra / (best(long, "cpu") - best(short, "cpu")) if long > short else None,
                wall=best(long, "wall"), cpu=best(long, "cpu"), peak_mib=best(long, "peak") / 1024, steps=long)
            outcome = Path(whole["outcome"])
            steps = billon_log(outcome) if outcome.is_dir() else json.loads(outcome.read_text())["steps"]
            curves[program] = [step["loss"] for step in steps]
        data[workload] = dict(speeds=speeds, losses=curves)
        text += [f"## {workload}", "", "| | tokens/s | tokens per CPU s | wall s | CPU s | peak MiB | steps |",
                 "| --- | --- | --- | --- | --- | --- | --- |"]
        number = lambda value, places=1: "-" if value is None else f"{value:.{places}f}"
        for program, s in speeds.items():
            text.append(f"| {program} | {number(s['tokens_per_s'])} | {number(s['tokens_per_cpu_s'])} | {number(s['wall'])} | "
                        f"{number(s['cpu'])} | {number(s['peak_mib'], 0)} | {s['steps']} |")
        if {"billon", "peft"} <= speeds.keys():
            ours, theirs = speeds["billon"], speeds["peft"]
            ratio = lambda key: number(ours[key] / theirs[key], 2) if ours[key] and theirs[key] else "-"
            text.append(f"| billon / peft | {ratio('tokens_per_s')} | {ratio('tokens_per_cpu_s')} | {ratio('wall')} | "
                        f"{ratio('cpu')} | {ratio('peak_mib')} | |")
            text += ["", "| step | loss, peft | loss, billon | relative difference |", "| --- | --- | --- | --- |"]
            for step, (theirs, ours) in enumerate(zip(curves["peft"], curves["billon"])):
                text.append(f"| {step + 1} | {theirs:.6f} | {ours:.6f} | {abs(ours - theirs) / theirs:.1e} |")
        (out / f"{workload}.svg").write_text(plot(workload, curves))
        text += ["", f"![losses]({workload}.svg)", ""]
    (out / "report.md").write_text("\n".join(text))
    (out / "report.json").write_text(json.dumps(data, indent=1) + "\n")
    print("\n".join(text))


def plot(title, curves):
    """Loss over steps as SVG: PEFT as a broad pale line, the other as a thin dark one on top of it."""
    width, height, left, top = 640, 360, 60, 30
    losses = [loss for curve in curves.values() for loss in curve]
    low, high, steps = min(losses), max(losses), max(map(len, curves.values()))
    high = high if high > low else low + 1
    x = lambda step: left + (width - left - 20) * step / max(steps - 1, 1)
    y = lambda loss: top + (height - top - 40) * (high - loss) / (high - low)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/><text x="{left}" y="18">{title}: loss by step</text>']
    for i in range(5):
        loss = low + (high - low) * i / 4
        parts.append(f'<line x1="{left}" x2="{width - 20}" y1="{y(loss):.1f}" y2="{y(loss):.1f}" stroke="#ddd"/>'
                     f'<text x="{left - 6}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.3f}</text>')
    parts.append(f'<text x="{left}" y="{height - 12}">1</text>'
                 f'<text x="{width - 20}" y="{height - 12}" text-anchor="end">{steps}</text>')
    for number, (name, style) in enumerate((("peft", 'stroke="#f4a259" stroke-width="6"'),
                                            ("billon", 'stroke="#1d3557" stroke-width="1.5"'))):
        if name in curves:
            points = " ".join(f"{x(i):.1f},{y(loss):.1f}" for i, loss in enumerate(curves[name]))
            parts.append(f'<polyline fill="none" {style} points="{points}"/>')
            at = width - 190 + number * 90
            parts.append(f'<line x1="{at}" x2="{at + 24}" y1="14" y2="14" {style}/><text x="{at + 30}" y="18">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(name, function, *arguments, **options):
        sub = commands.add_parser(name)
        for argument in arguments:
            sub.add_argument(argument)
        for option, (kind, default) in options.items():
            sub.add_argument("--" + option, type=kind, default=default, required=default is None)
        sub.set_defaults(function=function)

    run = dict(steps=(int, None), out=(str, None), batch=(int, 8), rate=(float, 2e-4))
    command("model", make_model, "dir")
    command("start", make_start, "model", "dir")
    command("random-rows", random_rows, "out", rows=(int, 64), length=(int, 256), vocabulary=(int, 49152))
    command("task-rows", task_rows, "model", "data", "task", "out", rows=(int, 64))
    command("train", train, "model", "start", "rows", **run, threads=(int, 2))
    command("recipe", recipe, "model", "start", "rows", **run)
    command("report", report, "times", out=(str, None))
    a = parser.parse_args()
    a.function(a)


if __name__ == "__main__":
    main()
