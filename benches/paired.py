#!/usr/bin/env python3
"""Paired whole-process runs: billon, the floor program and mergekit in turn, on the same recipes.

    paired.py --billon BIN --floor BIN [--mergekit BIN] --work DIR [--sizes 0.5b,1.5b]
              [--methods linear,ties] [--runs 3] [--peer-runs 1] [--flags="--no-hash"]
              [--floor-flags="--hash"] --out FILE.json

DIR holds ckpt/SIZE/{base,ft1,ft2,ft3} and configs/SIZE-METHOD.yml. Each input is read through
once before each run, so that all start with a warm page cache. Figures are those of the operating
system for the finished process; the table gives medians, the file keeps every run.
"""
import argparse, json, os, platform, resource, shutil, statistics, subprocess, sys, time

METHODS = ["linear", "task_arithmetic", "slerp", "dare_linear", "dare_ties", "ties"]


def inputs(size, method):
    names = {"linear": ["ft1", "ft2", "ft3"], "slerp": ["ft1", "ft2"]}.get(method, ["base", "ft1", "ft2", "ft3"])
    return [f"ckpt/{size}/{n}" for n in names]


def warm(dirs):
    for d in dirs:
        for name in sorted(os.listdir(d)):
            with open(os.path.join(d, name), "rb", buffering=0) as f:
                while f.read(1 << 24):
                    pass


def run(command, env=None):
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status != 0:
        sys.exit(f"{command} failed: {error.decode(errors='replace')}")
    return {"wall": wall, "user": usage.ru_utime, "sys": usage.ru_stime, "cpu": usage.ru_utime + usage.ru_stime,
            "rss_mb": usage.ru_maxrss / 1024}


def median(runs, key):
    return statistics.median(r[key] for r in runs) if runs else float("nan")


def main():
    ap = argparse.ArgumentParser()
    for name in ("billon", "floor", "work", "out"):
        ap.add_argument("--" + name, required=True)
    ap.add_argument("--mergekit")
    ap.add_argument("--sizes", default="0.5b,1.5b")
    ap.add_argument("--methods", default=",".join(METHODS))
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--peer-runs", type=int, default=1)
    ap.add_argument("--threads", default="2")
    ap.add_argument("--flags", default="")
    ap.add_argument("--floor-flags", default="")
    a = ap.parse_args()
    out = os.path.abspath(a.out)
    binaries = {k: os.path.abspath(getattr(a, k)) for k in ("billon", "floor")}
    os.chdir(a.work)
    env = dict(os.environ, HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    rows, raw = [], []
    for size in a.sizes.split(","):
        for method in a.methods.split(","):
            dirs = inputs(size, method)
            recipe = f"configs/{size}-{method}.yml"
            runs = {"billon": [], "floor": [], "mergekit": []}
            for i in range(a.runs):
                for name, command in (
                    ("billon", [binaries["billon"], "merge", recipe, "out/billon", "--force", "-q", "-j", a.threads, *a.flags.split()]),
                    ("floor", [binaries["floor"], *a.floor_flags.split(), a.threads, "out/floor", *dirs]),
                    ("mergekit", [a.mergekit, recipe, "out/mergekit", "--no-copy-tokenizer", "--quiet"]),
                ):
                    if name == "mergekit" and (not a.mergekit or i >= a.peer_runs):
                        continue
                    warm(dirs)
                    os.sync()
                    runs[name].append(run(command, env))
                    shutil.rmtree(f"out/{name}", ignore_errors=True)
            b, f, m = runs["billon"], runs["floor"], runs["mergekit"]
            raw.append({"size": size, "method": method, "flags": a.flags, "floor_flags": a.floor_flags, "runs": runs})
            pair = [x["wall"] / y["wall"] for x, y in zip(b, f)]
            row = [size, method, f"{median(b,'wall'):.2f}", f"{median(f,'wall'):.2f}", f"{statistics.median(pair):.2f}",
                   f"{median(b,'cpu'):.2f}", f"{median(f,'cpu'):.2f}", f"{median(b,'rss_mb'):.0f}"]
            row += [f"{median(m,'wall'):.1f}", f"{median(m,'cpu'):.1f}", f"{median(m,'cpu')/median(b,'cpu'):.1f}",
                    f"{median(m,'wall')/median(b,'wall'):.1f}", f"{median(m,'rss_mb'):.0f}"] if m else ["-"] * 5
            rows.append(row)
            print(" | ".join(row), flush=True)
    head = ["size", "method", "wall s", "floor wall s", "x floor", "cpu s", "floor cpu s", "rss MB",
            "mergekit wall s", "mergekit cpu s", "cpu ratio", "wall ratio", "mergekit rss MB"]
    print("\n| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "kernel": platform.release(),
               "model": next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), ""),
               "memory_gb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9}
    with open(out, "w") as file:
        json.dump({"machine": machine, "threads": a.threads, "cases": raw}, file, indent=1)


if __name__ == "__main__":
    main()
