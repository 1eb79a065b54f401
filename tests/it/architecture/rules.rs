//! The rules of the house: ranks of rooms, owners of crates and of calls, and the shape of files.

use super::source::{Path, Source, Sources};

/// Rooms from the lowest rank to the highest: a file names rooms of lower ranks and its own. The longest name that fits a
/// file's module is its room, so that `merge` is what of merging has no room of its own.
const RANKS: &[&str] = &[
    "error event dtype rng clock machine panics visible",
    "parallel suggest",
    "storage yaml",
    "python stats device",
    "compute/simd",
    "compute/merge compute/nn compute/linalg",
    "compute/conformance compute",
    "checkpoint tokenizer hub",
    "arch",
    "lora recipe task",
    "merge/methods",
    "merge/plan",
    "merge/execute",
    "merge/output",
    "merge model",
    "activations convert inspect eval",
    "train",
    "search scale",
    "experiment",
    "demo",
    "cli",
    "internal main",
];

/// Rooms of one rank that may name each other after all, in this direction.
const BESIDE: &[(&str, &str)] = &[
    // A cancelled run ends with an error.
    ("event", "error"),
];

/// Crates and the rooms that hide them.
const CRATES: &[(&str, &str)] = &[
    ("clap", "cli"),
    ("comfy_table", "cli"),
    ("indicatif", "cli"),
    ("signal_hook", "cli"),
    ("rayon", "parallel"),
    ("memmap2", "storage"),
    ("sha2", "storage"),
    ("blake3", "storage"),
    ("fancy_regex", "python/regex"),
    ("minijinja_contrib", "python/jinja"),
    ("strsim", "suggest"),
    ("statrs", "stats"),
    ("tokenizers", "tokenizer"),
    ("csv", "task"),
    ("flate2", "task"),
    ("parquet", "task"),
    ("candle_core", "model train convert"),
    ("faer", "compute/linalg"),
    ("cudarc", "device compute/merge/cuda compute/nn/cuda"),
    ("ureq", "eval/server hub"),
    ("quick_junit", "eval/gate"),
    ("plotters", "experiment/report"),
];

/// Paths that have one place each, where their dangers are dealt with, and what to use elsewhere.
const PATHS: &[(&str, &str, &str)] = &[
    ("std::thread::spawn", "parallel", "start threads through `parallel`"),
    ("std::thread::scope", "parallel", "start threads through `parallel`"),
    ("std::thread::Builder", "parallel", "start threads through `parallel`"),
    ("std::fs::File::create", "storage", "publish through `storage::publish`"),
    ("std::fs::File::create_new", "storage", "publish through `storage::publish`"),
    ("std::fs::File::options", "storage", "publish through `storage::publish`"),
    ("std::fs::OpenOptions", "storage", "append through `storage`"),
    ("std::fs::DirBuilder", "storage", "publish through `storage::publish`"),
    ("std::fs::write", "storage", "publish through `storage::publish`"),
    ("std::fs::copy", "storage", "publish through `storage::publish`"),
    ("std::fs::rename", "storage", "publish through `storage::publish`"),
    ("std::fs::hard_link", "storage", "publish through `storage::publish`"),
    ("std::fs::create_dir", "storage", "create folders through `storage`"),
    ("std::fs::create_dir_all", "storage", "create folders through `storage`"),
    ("std::fs::remove_file", "storage", "only `storage` removes, and only what billon wrote"),
    ("std::fs::remove_dir", "storage", "only `storage` removes, and only what billon wrote"),
    ("std::fs::remove_dir_all", "storage", "only `storage` removes, and only what billon wrote"),
    ("std::os::unix::fs::symlink", "storage", "publish through `storage::publish`"),
    ("rustix::fs", "storage", "reach files through `storage`"),
    ("tempfile", "nowhere", "prepare outputs through `storage::publish`"),
    ("std::fs::read", "storage machine", "read through `storage::input`, which bounds sizes and refuses devices"),
    (
        "std::fs::read_to_string",
        "storage machine",
        "read through `storage::input`, which bounds sizes and refuses devices",
    ),
    ("std::fs::File::open", "storage", "open through `storage::input`, which refuses devices"),
    ("std::io::stdout", "cli", "return a value; `cli` prints it"),
    ("std::io::stderr", "cli", "report an event; `cli` prints it"),
    ("println!", "cli", "return a value; `cli` prints it"),
    ("print!", "cli", "return a value; `cli` prints it"),
    ("eprintln!", "cli", "report an event; `cli` prints it"),
    ("eprint!", "cli", "report an event; `cli` prints it"),
    ("jiff::Timestamp::now", "clock", "ask `clock`, which survives clocks far in the future"),
    ("jiff::Zoned::now", "clock", "ask `clock`, which survives clocks far in the future"),
    // The tensor library has a pool of its own, which has no other switch.
    ("std::env::set_var", "parallel", "pass the value"),
    ("include!", "nowhere", "name the module"),
];

/// Methods that have one place each.
const METHODS: &[(&str, &str, &str)] = &[
    ("add_template", "python/jinja", "add templates through `python::jinja`, which bounds them"),
    ("add_template_owned", "python/jinja", "add templates through `python::jinja`, which bounds them"),
    ("template_from_str", "python/jinja", "add templates through `python::jinja`, which bounds them"),
    ("render_str", "python/jinja", "render through `python::jinja`, which bounds output and time"),
    ("spawn_scoped", "parallel", "start threads through `parallel`"),
];

const MOST_LINES: usize = 500;
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

/// Everything that the sources break, a line each with what to do.
pub(super) fn faults(sources: &Sources) -> Vec<String> {
    let mut faults = Vec::new();
    for source in &sources.files {
        shape(source, &mut faults);
        if source.path != "lib.rs" {
            ranks(sources, source, &mut faults);
        }
        owners(source, &mut faults);
    }
    circles(sources, &mut faults);
    faults
}

/// Size, name, and what a `mod.rs` may hold.
fn shape(source: &Source, faults: &mut Vec<String>) {
    let path = &source.path;
    if let Some(name) = source.module.iter().find(|step| EMPTY_NAMES.contains(&step.as_str())) {
        faults.push(format!("{path}: the name `{name}` says nothing; name the idea"));
    }
    if source.lines > MOST_LINES {
        faults.push(format!("{path}: {} lines, more than {MOST_LINES}; split it by idea", source.lines));
    }
    if path.ends_with("/mod.rs")
        && let Some(line) = source.definitions.first()
    {
        faults.push(format!("{path}:{line}: a `mod.rs` holds docs, modules and re-exports; move this to a file"));
    }
    for (line, file) in &source.files {
        if file.contains('/') {
            faults.push(format!("{path}:{line}: `#[path]` leaves the folder ({file}); name the module where it lies"));
        }
    }
}

/// The room of a module and its rank.
fn room(module: &[String]) -> Option<(&'static str, usize)> {
    let path = module.join("/");
    let fits = |room: &&str| path == **room || path.strip_prefix(*room).is_some_and(|rest| rest.starts_with('/'));
    let rooms = RANKS.iter().enumerate().flat_map(|(rank, row)| row.split(' ').map(move |room| (room, rank)));
    rooms.filter(|(room, _)| fits(room)).max_by_key(|(room, _)| room.len())
}

fn ranks(sources: &Sources, source: &Source, faults: &mut Vec<String>) {
    let path = &source.path;
    let Some((own, rank)) = room(&source.module) else {
        faults.push(format!("{path}: `{}` has no rank; give it a row of RANKS", source.module.join("::")));
        return;
    };
    for name in &source.names {
        if name.path.first().is_none_or(|first| first != "crate") {
            continue;
        }
        let module = sources.defining_module(&name.path);
        // What `lib.rs` defines or re-exports is `error`'s.
        let Some((used, other)) = room(&module) else { continue };
        let parent = own.strip_prefix(used).is_some_and(|rest| rest.starts_with('/'));
        if other >= rank && used != own && !BESIDE.contains(&(own, used)) {
            let why = if parent { "what it is a part of" } else { "not below it" };
            faults.push(format!(
                "{path}:{}: `{own}` uses `{used}`, {why} (`{}`); move what both need to a lower room, or pass it as a \
                 value",
                name.line,
                name.path.join("::")
            ));
        }
    }
}

fn is_in(source: &Source, rooms: &str) -> bool {
    let path = source.module.join("/");
    rooms.split(' ').any(|room| path == room || path.strip_prefix(room).is_some_and(|rest| rest.starts_with('/')))
}

fn owners(source: &Source, faults: &mut Vec<String>) {
    let path = &source.path;
    for name in &source.names {
        let Some(first) = name.path.first() else { continue };
        if let Some((_, rooms)) = CRATES.iter().find(|(owned, _)| owned == first)
            && !is_in(source, rooms)
        {
            faults.push(format!("{path}:{}: `{first}` belongs to `{rooms}`; use what that room offers", name.line));
        }
        let whole = canonical(&name.path);
        for (owned, rooms, advice) in PATHS {
            let named = whole == *owned || whole.strip_prefix(owned).is_some_and(|rest| rest.starts_with("::"));
            if named && !is_in(source, rooms) {
                faults.push(format!("{path}:{}: `{owned}` belongs to `{rooms}`; {advice}", name.line));
            }
        }
    }
    for (line, method) in &source.methods {
        for (owned, rooms, advice) in METHODS {
            if method == owned && !is_in(source, rooms) {
                faults.push(format!("{path}:{line}: `.{owned}()` belongs to `{rooms}`; {advice}"));
            }
        }
    }
}

fn canonical(path: &Path) -> String {
    let path = path.join("::");
    for root in ["core::", "alloc::"] {
        if let Some(rest) = path.strip_prefix(root) {
            return format!("std::{rest}");
        }
    }
    path
}

/// Files that need each other in a circle.
fn circles(sources: &Sources, faults: &mut Vec<String>) {
    let index = |module: &Path| sources.files.iter().position(|source| &source.module == module);
    let edges: Vec<Vec<usize>> = sources
        .files
        .iter()
        .enumerate()
        .map(|(own, source)| {
            let ours = source.names.iter().filter(|name| name.path.first().is_some_and(|first| first == "crate"));
            let listed = source.path.ends_with("mod.rs") || source.path == "lib.rs" || source.path == "internal.rs";
            let mut used: Vec<usize> = ours
                .filter(|name| !listed || !name.is_reexport)
                .filter_map(|name| index(&sources.defining_module(&name.path)))
                .filter(|used| *used != own && !sources.files[*used].module.is_empty())
                .collect();
            used.sort_unstable();
            used.dedup();
            used
        })
        .collect();
    let reach: Vec<Vec<bool>> = (0..edges.len()).map(|from| reachable(&edges, from)).collect();
    let mut seen = vec![false; edges.len()];
    for from in 0..edges.len() {
        let circle: Vec<usize> = (0..edges.len()).filter(|to| reach[from][*to] && reach[*to][from]).collect();
        if circle.len() > 1 && !seen[from] {
            for file in &circle {
                seen[*file] = true;
            }
            let files: Vec<String> = circle
                .iter()
                .map(|file| {
                    let used = edges[*file].iter().filter(|used| circle.contains(used));
                    let used: Vec<&str> = used.map(|used| sources.files[*used].path.as_str()).collect();
                    format!("  {} uses {}", sources.files[*file].path, used.join(", "))
                })
                .collect();
            faults.push(format!(
                "files that need each other in a circle; move what they share to a file of its own:\n{}",
                files.join("\n")
            ));
        }
    }
}

fn reachable(edges: &[Vec<usize>], from: usize) -> Vec<bool> {
    let mut seen = vec![false; edges.len()];
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        for next in &edges[file] {
            if !std::mem::replace(&mut seen[*next], true) {
                open.push(*next);
            }
        }
    }
    seen
}
