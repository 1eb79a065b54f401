//! What may be written where: nothing that billon did not write is ever removed, however an output is spelt.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::context::{Context, Run, files, fixture};

/// A recipe that copies a model, with its path written out.
fn copy_of(model: &Path) -> String {
    format!("merge_method: passthrough\nmodels: [{{model: {:?}}}]\n", model.display().to_string())
}

fn source() -> PathBuf {
    fixture("checkpoints/f32/ft1")
}

/// A copy of a fixture's model that a test may lose.
fn own_model(context: &Context, name: &str) -> PathBuf {
    for (file, bytes) in files(&source()) {
        let path = context.path(name).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    context.path(name)
}

fn finish(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Merges in a working directory of the test's.
fn merge_in(context: &Context, folder: &Path, out: &str, options: &[&str]) -> Run {
    let mut command = context.command();
    command.current_dir(folder).arg("merge").arg("r.yml").arg(out).args(options);
    finish(&mut command)
}

#[track_caller]
fn refused(run: &Run, message: &str) {
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains(message), "{}", run.stderr);
    assert!(!run.stderr.contains("merging"), "before any work: {}", run.stderr);
}

#[test]
fn force_refuses_what_billon_did_not_write_by_name() {
    let context = Context::new();
    let recipe = context.write("r.yml", &copy_of(&source()));
    context.write("outdir/thesis.txt", "years");
    context.write("outdir/sub/x", "x");
    let before = files(&context.path("outdir"));
    let run = context.merge_run(&recipe, &context.path("outdir"), &["--force"]);
    refused(&run, "did not write: sub, thesis.txt");
    assert_eq!(files(&context.path("outdir")), before);
    // A foreign model is not an output, whatever it looks like; nor is an output with something added.
    let model = own_model(&context, "foreign");
    refused(&context.merge_run(&recipe, &model, &["--force"]), "did not write: config.json");
    let out = context.merge_file("out", &recipe, &[]);
    for added in ["notes.md", "runs/plot.png"] {
        context.write(&format!("out/{added}"), "mine");
        let run = context.merge_run(&recipe, &out, &["--force"]);
        refused(&run, added.split('/').next().unwrap());
        std::fs::remove_file(out.join(added)).unwrap();
    }
    std::fs::remove_dir(out.join("runs")).unwrap();
    symlink(&model, out.join("link")).unwrap();
    refused(&context.merge_run(&recipe, &out, &["--force"]), "did not write: link");
    std::fs::remove_file(out.join("link")).unwrap();
    assert_eq!(context.merge_run(&recipe, &out, &["--force"]).code, Some(0));
    assert_eq!(files(&model), files(&source()));
}

#[test]
fn force_refuses_the_recipe_the_current_directory_and_home() {
    let context = Context::new();
    context.write("project/r.yml", &copy_of(&source()));
    context.write("project/src/thesis.tex", "years");
    let project = context.path("project");
    for out in [project.to_str().unwrap(), ".", "./", "../project", "src/.."] {
        refused(&merge_in(&context, &project, out, &["--force"]), "project");
    }
    refused(&merge_in(&context, &project, "..", &["--force"]), "output");
    assert_eq!(files(&project).len(), 2);
    // Even an earlier output, where someone stands in it.
    let recipe = context.write("r.yml", &copy_of(&source()));
    let out = context.merge_file("out", &recipe, &[]);
    let mut command = context.command();
    command.current_dir(&out).args(["merge", "../r.yml", ".", "--force"]);
    refused(&finish(&mut command), "is the current directory");
    let mut command = context.command();
    command.env("HOME", &out).arg("merge").args([&recipe, &out]).arg("--force");
    refused(&finish(&mut command), "is the home directory");
}

#[test]
fn every_spelling_of_an_input_is_seen() {
    let context = Context::new();
    let model = own_model(&context, "work/ft1");
    let work = context.path("work");
    context.write("work/r.yml", &copy_of(&model));
    symlink("ft1", work.join("link")).unwrap();
    symlink(&work, work.join("round")).unwrap();
    let before = files(&model);
    for out in
        ["ft1", "ft1/.", "nope/../ft1", "nope/deep/../../ft1", "link", "round/ft1", "round/nope/../ft1", "ft1/x/.."]
    {
        refused(&merge_in(&context, &work, out, &["--force"]), "is one of the inputs");
    }
    refused(&merge_in(&context, &work, "../work", &["--force"]), "holds an input");
    // An input that was merged before is known as billon's, and still an input.
    let merged = context.merge("merged", &copy_of(&model), &[]);
    context.write("work/r.yml", &copy_of(&merged));
    refused(&merge_in(&context, &work, "nope/../../merged", &["--force"]), "is one of the inputs");
    assert_eq!(files(&model), before);
    assert!(!work.join("nope").exists(), "nothing is made for a refusal");
}

#[test]
fn blobs_behind_links_of_a_cache_are_inputs() {
    let context = Context::new();
    let cache = context.path("hf/hub/models--acme--tiny");
    let snapshot = cache.join("snapshots/0123456789");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(cache.join("blobs")).unwrap();
    std::fs::create_dir_all(cache.join("refs")).unwrap();
    std::fs::write(cache.join("refs/main"), "0123456789").unwrap();
    for (name, bytes) in files(&source()) {
        let blob = cache.join("blobs").join(name.file_name().unwrap());
        std::fs::write(&blob, bytes).unwrap();
        symlink(Path::new("../../blobs").join(name.file_name().unwrap()), snapshot.join(name)).unwrap();
    }
    let recipe = context.write("r.yml", &copy_of(Path::new("acme/tiny")));
    let before = files(&cache);
    // A list of billon's does not make them outputs.
    let names: Vec<String> = files(&source()).keys().map(|name| name.display().to_string()).collect();
    let list = serde_json::json!({"manifest_version": 1, "billon_version": "0", "complete": true, "files": names});
    context.write("hf/hub/models--acme--tiny/blobs/billon.manifest.json", &list.to_string());
    for out in [&cache, &cache.join("blobs"), &cache.join("snapshots"), &context.path("hf")] {
        refused(&context.merge_run(&recipe, out, &["--force"]), "holds an input");
    }
    refused(&context.merge_run(&recipe, &snapshot, &["--force"]), "is one of the inputs");
    std::fs::remove_file(cache.join("blobs/billon.manifest.json")).unwrap();
    assert_eq!(files(&cache), before);
}

#[test]
fn convert_follows_the_same_rule() {
    let context = Context::new();
    let gguf = std::fs::read_dir(fixture("gguf")).unwrap().map(|e| e.unwrap().path());
    let gguf = gguf.filter(|p| p.extension().is_some_and(|e| e == "gguf")).min().unwrap();
    let convert = |out: &Path, options: &[&str]| {
        let mut command = context.command();
        finish(command.arg("convert").arg(&gguf).arg(out).args(options))
    };
    let out = context.path("converted");
    assert_eq!(convert(&out, &[]).code, Some(0));
    refused(&convert(&out, &[]), "--force");
    let first = files(&out);
    assert_eq!(convert(&out, &["--force"]).code, Some(0));
    assert_eq!(files(&out), first);
    context.write("converted/notes", "mine");
    refused(&convert(&out, &["--force"]), "did not write: notes");
    let own = context.path("models");
    std::fs::create_dir(&own).unwrap();
    std::fs::copy(&gguf, own.join("m.gguf")).unwrap();
    let mut command = context.command();
    let run = finish(command.arg("convert").arg(own.join("m.gguf")).arg(&own).arg("--force"));
    refused(&run, "holds an input");
}

#[test]
fn a_write_beyond_ulimit_fails_with_an_error_and_leaves_nothing() {
    let context = Context::new();
    let out = context.path("out");
    let mut command = Command::new("/bin/sh");
    let script = "ulimit -f 20; exec \"$0\" merge \"$1\" \"$2\"";
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("HOME", context.path("home"));
    command.env("BILLON_CACHE_DIR", context.path("cache"));
    command.args(["-c", script, env!("CARGO_BIN_EXE_billon")]).arg(fixture("../recipes/fixtures-ties.yml")).arg(&out);
    let run = finish(&mut command);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("File too large") && run.stderr.contains("ulimit"), "{}", run.stderr);
    assert!(!out.exists());
    assert_eq!(context.leftovers(), [""; 0]);
}

#[test]
fn a_users_folder_and_a_fifo_beside_the_output_are_left_alone() {
    let context = Context::new();
    context.write(".out.billon-notes/thesis.txt", "mine");
    std::fs::create_dir(context.path(".out.billon-4-0")).unwrap();
    let fifo = context.path(".out.billon-5-0");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    context.merge("out", &copy_of(&source()), &[]);
    let mut left = context.leftovers();
    left.sort();
    assert_eq!(left, [".out.billon-5-0", ".out.billon-notes"]);
    assert!(context.path(".out.billon-notes/thesis.txt").exists());
}

#[test]
fn names_of_documents_and_rows_cannot_leave_the_output() {
    let context = Context::new();
    for name in ["../x", "a/b", "..", "nul\\0byte", "line\\nbreak", &"x".repeat(300)] {
        let recipe = format!("{}---\nname: \"{name}\"\n{}", copy_of(&source()), copy_of(&source()));
        let path = context.write("r.yml", &recipe);
        refused(&context.merge_run(&path, &context.path("out"), &[]), "name");
        let experiment = format!(
            "base_model: {:?}\nmerges:\n  \"{name}\":\n    recipe: {{merge_method: linear, models: [{{model: base}}]}}\nevaluation: {{general: [gsm8k]}}\n",
            source().display().to_string()
        );
        let path = context.write("e.yml", &experiment);
        let out = context.path("run");
        let run = context.run(["run".as_ref(), path.as_os_str(), "--out".as_ref(), out.as_os_str()]);
        refused(&run, "name");
        assert!(!out.exists());
    }
}

#[test]
fn an_experiment_does_not_overwrite_reports_of_others() {
    let context = Context::new();
    context.write("site/report.html", "mine");
    context.write("site/data/rows.jsonl", "mine");
    let site = context.path("site");
    let run = context.run(["demo".as_ref(), "--out".as_ref(), site.as_os_str()]);
    refused(&run, "did not write: data");
    let experiment = format!("base_model: {:?}\nevaluation: {{general: [gsm8k]}}\n", source().display().to_string());
    let path = context.write("e.yml", &experiment);
    let run = context.run(["run".as_ref(), path.as_os_str(), "--out".as_ref(), site.as_os_str()]);
    refused(&run, "did not write: report.html");
    assert_eq!(files(&site).len(), 2);
}
