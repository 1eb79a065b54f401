//! Results that appear with their samples, before anything is printed, and only where they belong.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::context::{Context, files, fixture};

fn command(context: &Context, out: &Path, tasks: &str) -> Command {
    let mut command = context.command();
    let folder = fixture("tasks/prompts");
    command.arg("eval").arg(fixture("eval/model")).args(["--tasks", tasks, "--no-cache", "-j", "2", "-L", "2"]);
    command.arg("--include-path").arg(&folder).arg("--data").arg(folder.join("data")).arg("--out").arg(out);
    command
}

fn names(out: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        files(out).keys().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn results_are_written_before_they_are_printed() {
    let context = Context::new();
    let out = context.path("out");
    let run =
        command(&context, &out, "t_plain").stdout(File::options().write(true).open("/dev/full").unwrap()).output();
    assert_eq!(run.unwrap().status.code(), Some(1), "stdout is full");
    let names = names(&out);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with("results_") && names[1].starts_with("samples_t_plain_"), "{names:?}");
}

#[test]
fn json_says_where_results_and_samples_are() {
    let context = Context::new();
    let out = context.path("out");
    let run = command(&context, &out, "t_plain,t_next").arg("--json").output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let printed: Value = serde_json::from_slice(&run.stdout).unwrap();
    let path = Path::new(printed["results_path"].as_str().unwrap());
    assert!(path.starts_with(&out), "{}", path.display());
    let written: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(written["results"], printed["results"]);
    assert!(written.get("results_path").is_none(), "the file is the harness's");
    let samples: Vec<&str> = printed["samples_paths"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    assert_eq!(samples.len(), 2);
    assert!(samples.iter().all(|path| Path::new(path).is_file()), "{samples:?}");
    let mut without = context.command();
    without.arg("eval").arg(fixture("eval/model")).args(["--tasks", "t_plain", "--no-cache", "-L", "1", "--json"]);
    let folder = fixture("tasks/prompts");
    let run = without.arg("--include-path").arg(&folder).arg("--data").arg(folder.join("data")).output().unwrap();
    let printed: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&printed["results_path"], &printed["samples_paths"]), (&Value::Null, &serde_json::json!([])));
}

#[test]
fn a_place_that_cannot_be_written_is_found_before_the_model_is_asked() {
    let context = Context::new();
    context.write("file", "");
    for (out, message) in [("file/out", "file"), ("/proc/out", "/proc"), ("/dev/full/x", "/dev/full")] {
        let run = command(&context, &context.path(out), "t_plain").output().unwrap();
        let stderr = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(message) && !stderr.contains("scoring"), "{stderr}");
    }
    let long = context.path(&format!("{}.json", "x".repeat(240)));
    let run = command(&context, &long, "t_plain").output().unwrap();
    assert!(!String::from_utf8_lossy(&run.stderr).contains("scoring"));
    assert_eq!(run.status.code(), Some(1));
}

#[test]
fn a_task_that_would_leave_the_output_is_refused_with_its_file() {
    let context = Context::new();
    let base = std::fs::read_to_string(fixture("tasks/prompts/plain.yaml")).unwrap();
    let body: String = base.lines().filter(|l| !l.starts_with("task:")).map(|l| format!("{l}\n")).collect();
    for included in std::fs::read_dir(fixture("tasks/prompts")).unwrap().map(|e| e.unwrap().path()) {
        if included.is_file() {
            std::fs::copy(&included, context.path(included.file_name().unwrap().to_str().unwrap())).unwrap();
        }
    }
    let out = context.path("out");
    for name in ["../../escaped", "a/b", "..", "nul\\0byte", "line\\nbreak", "/abs", &"x".repeat(300)] {
        let file = context.write("named.yml", &format!("task: \"{name}\"\n{body}"));
        for verb in ["eval", "tasks"] {
            let run = if verb == "eval" {
                command(&context, &out, file.to_str().unwrap()).output().unwrap()
            } else {
                context.command().arg("tasks").arg(&file).output().unwrap()
            };
            let stderr = String::from_utf8_lossy(&run.stderr);
            assert_eq!(run.status.code(), Some(2), "{verb} {name}: {stderr}");
            assert!(stderr.contains("named.yml") && stderr.contains("name"), "{verb} {name}: {stderr}");
        }
        assert!(!out.exists());
    }
}

#[test]
fn a_model_called_by_dots_keeps_its_results_below_the_output() {
    let context = Context::new();
    std::fs::create_dir_all(context.path("model/sub")).unwrap();
    for (name, bytes) in files(&fixture("eval/model")) {
        std::fs::write(context.path("model").join(name), bytes).unwrap();
    }
    let folder = fixture("tasks/prompts");
    let mut command = context.command();
    command.current_dir(context.path("model/sub")).args(["eval", "..", "--tasks", "t_plain", "--no-cache", "-L", "1"]);
    command.arg("--include-path").arg(&folder).arg("--data").arg(folder.join("data")).args(["--out", "../../res"]);
    let run = command.stdout(Stdio::null()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(files(&context.path("res")).len(), 2);
    assert!(!context.path("model").join("results").exists() && files(&context.path("model/sub")).is_empty());
}

#[test]
fn leftovers_of_a_killed_evaluation_are_removed_by_the_next_one() {
    let context = Context::new();
    let out = context.path("out/model.json");
    let write = |name: &str, text: &str| context.write(&format!("out/{name}"), text);
    write("samples_x_2026-01-01T00-00-00.000000.jsonl", "half a run");
    write(
        ".results.billon-99-0/.moving.json",
        r#"{"files": ["samples_x_2026-01-01T00-00-00.000000.jsonl"], "last": "results_2026-01-01T00-00-00.000000.json"}"#,
    );
    write(".results.billon-99-0/results_2026-01-01T00-00-00.000000.json", "{}");
    write(".results_2026-01-01T00-00-00.000000.json.billon-98", "version 0.1");
    write("samples_mine.jsonl", "a user's");
    write(".results.billon-notes", "a user's");
    let run = command(&context, &out, "t_plain").output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let names = names(&context.path("out"));
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(names[0], ".results.billon-notes");
    assert!(
        names[1].starts_with("model_") && names[2] == "samples_mine.jsonl" && names[3].starts_with("samples_t_plain")
    );
}
