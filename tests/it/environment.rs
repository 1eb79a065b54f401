//! What surrounds the process: ignored signals, signals that nobody heeds, limits on processes.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::checkpoint;
use crate::context::{Context, fixture};

/// A merge of two models of zeros that takes some seconds, as arguments.
fn long_merge(context: &Context) -> Vec<PathBuf> {
    for model in ["one", "two"] {
        checkpoint::write_sparse(&context.path(model), 10, 5000);
    }
    let path = |name: &str| context.path(name).display().to_string();
    let recipe = context.write(
        "big.yml",
        &format!(
            "merge_method: ties\nbase_model: {:?}\nmodels:\n- model: {:?}\n  parameters: {{weight: 1, density: 0.5}}\n",
            path("one"),
            path("two")
        ),
    );
    vec!["merge".into(), recipe, context.path("out"), "--threads".into(), "1".into(), "-q".into()]
}

/// Starts the program behind a shell that first runs `before`.
fn behind_shell(context: &Context, before: &str) -> Command {
    let command = context.command();
    let mut shell = Command::new("/bin/sh");
    shell.current_dir(env!("CARGO_MANIFEST_DIR")).env_clear();
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap());
    }
    shell.arg("-c").arg(format!("{before}; exec \"$0\" \"$@\"")).arg(command.get_program());
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let context = Context::new();
    let mut child = behind_shell(&context, "trap '' HUP INT").args(long_merge(&context)).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while context.leftovers().is_empty() && !context.path("out").exists() {
        assert!(Instant::now() < deadline, "the merge never began to write");
        std::thread::sleep(Duration::from_millis(1));
    }
    for signal in [Signal::HUP, Signal::INT] {
        kill_process(Pid::from_child(&child), signal).unwrap();
    }
    assert!(child.try_wait().unwrap().is_none(), "the merge was over before the signals came");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An evaluation whose template takes long in instructions that look at no flag.
fn deaf(context: &Context) -> std::process::Child {
    let model = context.path("model");
    std::fs::create_dir_all(&model).unwrap();
    for (name, bytes) in crate::context::files(&fixture("eval/model")) {
        std::fs::write(model.join(name), bytes).unwrap();
    }
    let template = "{% for i in range(99999) %}{% if ('x' * (9999999 - i)) == 'y' %}{% endif %}{% endfor %}";
    std::fs::write(model.join("chat_template.jinja"), template).unwrap();
    let mut command = context.command();
    command.arg("eval").arg(&model).arg("--tasks").arg(fixture("tasks/prompts/plain.yaml"));
    command.arg("--data").arg(fixture("tasks/prompts/data")).args(["--no-cache", "--apply-chat-template", "-q"]);
    let child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    child
}

#[test]
fn a_signal_ends_work_that_looks_at_no_flag() {
    let context = Context::new();
    let child = deaf(&context);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"), "{output:?}");
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let context = Context::new();
    let child = deaf(&context);
    for _ in 0..2 {
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(output.status.signal(), Some(Signal::TERM.as_raw()), "{output:?}");
}

#[test]
fn threads_that_cannot_be_had_are_done_without() {
    let context = Context::new();
    let recipe = fixture("../recipes/fixtures-ties.yml");
    let expected = context.merge_file("expected", &recipe, &["--threads", "4"]);
    // No thread of the usual kind fits into memory: pools have stacks of their own size.
    let out = context.path("out");
    let mut command = context.command();
    command.env("RUST_MIN_STACK", "1000000000000000").arg("merge").arg(&recipe).arg(&out).args(["--threads", "4"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let weights = |folder: &std::path::Path| std::fs::read(folder.join("model-00001-of-00001.safetensors")).ok();
    assert_eq!(weights(&out), weights(&expected));
}

/// Under a real limit on processes, which needs a user that has none and is not root.
#[test]
fn a_limit_on_processes_is_an_error_or_fewer_threads() {
    const NOBODY: u32 = 61_234;
    let context = Context::new();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(context.path(""), open).unwrap();
    let as_nobody = |limit: u32, arguments: &[&str]| {
        let mut shell =
            behind_shell(&context, &format!("ulimit -u {limit} 2>/dev/null || ulimit -p {limit} || exit 99"));
        shell.args(arguments).uid(NOBODY).gid(NOBODY).env("TMPDIR", context.path("")).output()
    };
    match as_nobody(50, &["methods"]) {
        Ok(output) if output.status.code() == Some(0) => {}
        other => {
            eprintln!("SKIPPED: cannot run the program as another user: {other:?}");
            return;
        }
    }
    for limit in [1, 2, 3, 5] {
        let out = context.path(&format!("out{limit}"));
        let run = as_nobody(limit, &["merge", "recipes/fixtures-ties.yml", out.to_str().unwrap(), "-q"]).unwrap();
        let stderr = String::from_utf8_lossy(&run.stderr);
        assert!(matches!(run.status.code(), Some(0 | 1)), "{limit}: {:?} {stderr}", run.status);
        assert!(run.status.code() == Some(0) || stderr.starts_with("error: "), "{limit}: {stderr}");
        let evaluated = as_nobody(
            limit,
            &[
                "eval",
                "fixtures/eval/model",
                "--tasks",
                "fixtures/tasks/prompts/plain.yaml",
                "--data",
                "fixtures/tasks/prompts/data",
                "--no-cache",
                "-q",
            ],
        )
        .unwrap();
        let stderr = String::from_utf8_lossy(&evaluated.stderr);
        assert!(matches!(evaluated.status.code(), Some(0 | 1)), "{limit}: {:?} {stderr}", evaluated.status);
    }
}
