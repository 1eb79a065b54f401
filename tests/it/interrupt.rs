//! Runs that are stopped half-way leave nothing that looks like a result.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::checkpoint;
use crate::context::Context;

const SMALL: &str = "merge_method: passthrough\nmodels: [{model: fixtures/checkpoints/f32/ft1}]\n";

/// Starts a merge of 400 MB of zeros over the output of a small one, and waits until it writes.
fn started(context: &Context) -> (Child, PathBuf, PathBuf) {
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
    let out = context.merge("out", SMALL, &[]);
    let mut command = context.command();
    command.arg("merge").arg(&recipe).arg(&out).args(["--force", "--no-hash", "--threads", "1"]);
    let child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while context.leftovers().is_empty() {
        assert!(Instant::now() < deadline, "the merge never began to write");
        std::thread::sleep(Duration::from_millis(1));
    }
    (child, recipe, out)
}

fn untouched(out: &Path) -> bool {
    std::fs::read_to_string(out.join("billon.lock.json")).unwrap().contains("f32/ft1")
}

#[test]
fn an_interrupt_cleans_up_and_exits_130() {
    // On a machine that is busy elsewhere the merge may be over before the signal comes.
    for _ in 0..5 {
        let context = Context::new();
        let (mut child, _, out) = started(&context);
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(context.leftovers(), [""; 0]);
        if status.success() {
            continue;
        }
        assert_eq!(status.code(), Some(130));
        return assert!(untouched(&out));
    }
    panic!("no merge was interrupted");
}

#[test]
fn a_killed_run_touches_nothing_and_the_next_one_sweeps() {
    let context = Context::new();
    let (mut child, _, out) = started(&context);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
    assert!(untouched(&out));
    assert_ne!(context.leftovers(), [""; 0]);
    let recipe = context.write("small.yml", SMALL);
    let run = context.merge_run(&recipe, &out, &["--force"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(context.leftovers(), [""; 0]);
}
