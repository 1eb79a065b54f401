//! `RunResults` on arbitrary results and samples: they may never panic, nor may the comparison of a run with itself, which
//! finds no difference.

#![no_main]

mod scratch;

use billon::internal::RunResults;
use libfuzzer_sys::fuzz_target;

const STAMP: &str = "2026-01-02T03-04-05.678901";

fuzz_target!(|input: &[u8]| {
    let Some((results, samples)) = scratch::parts(input) else { return };
    let path = scratch::write(&format!("results_{STAMP}.json"), results);
    scratch::write(&format!("samples_t_{STAMP}.jsonl"), samples);
    let run = match RunResults::load(&path) {
        Ok(run) => run,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for task in &run.tasks {
        assert!(run.task(&task.name).is_ok());
        if let Err(error) = run.samples(&task.name) {
            assert!(!error.to_string().is_empty());
        }
    }
    for (name, tasks) in run.groups() {
        assert!(!tasks.is_empty(), "{name}");
    }
});
