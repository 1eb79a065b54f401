//! Task files of arbitrary text, with the prompts of two documents: they may never panic, and are read twice the same.

#![no_main]

mod scratch;

use billon::internal::task::{self, Documents, PromptSettings, Task};
use libfuzzer_sys::fuzz_target;

const ROWS: &[u8] = br#"{"text": "a b", "label": 1, "list": ["x", "y"], "more": {"k": null}}
{"text": "", "label": 0, "list": [], "more": {"k": "\u00e9"}}
"#;

fuzz_target!(|input: &[u8]| {
    // Namespaces can hold themselves, on which the engine ends the stack; the program ends with a message then.
    if input.windows(9).any(|window| window == b"namespace") {
        return;
    }
    let path = scratch::write("t.yaml", input).display().to_string();
    scratch::write("d.jsonl", ROWS);
    let (first, second) = (task::load(std::slice::from_ref(&path)), task::load(std::slice::from_ref(&path)));
    assert_eq!(first.is_ok(), second.is_ok());
    let set = match first {
        Ok(set) => set,
        Err(error) => return assert!(error.chain().iter().all(|message| !message.is_empty())),
    };
    let settings = PromptSettings { documents: Documents::First(2), ..PromptSettings::default() };
    for config in set.tasks {
        let prompts = Task::open(config, Some(scratch::folder())).and_then(|task| task.prompts(&settings));
        if let Err(error) = prompts {
            assert!(!error.to_string().is_empty());
        }
    }
});
