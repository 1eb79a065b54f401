//! Chat templates of arbitrary text: compiling and rendering may never panic, hang, or overflow the stack, and a
//! conversation renders twice the same.

#![no_main]

use std::collections::BTreeMap;

use billon::internal::{ChatTemplate, Message, SpecialTokens};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let source = String::from_utf8_lossy(rest).into_owned();
    // Namespaces can hold themselves, on which the engine ends the stack; the program ends with a message then. The
    // time is not the same twice.
    if source.contains("namespace") || source.contains("strftime_now") {
        return;
    }
    let special = SpecialTokens::new(BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]));
    let template = match ChatTemplate::new(source, &special, "fuzz.jinja".to_owned()) {
        Ok(template) => template,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut messages = vec![Message::new("user", "a\n b {{ x }}"), Message::new("assistant", "\u{e9}\u{1f600}")];
    if first & 4 != 0 {
        messages.insert(0, Message::new("system", ""));
    }
    let render = || template.render_or_without_system(&messages, first & 1 != 0, first & 2 != 0);
    match (render(), render()) {
        (Ok(once), Ok(twice)) => assert_eq!(once, twice),
        (Err(once), Err(twice)) => assert_eq!(once.to_string(), twice.to_string()),
        (once, twice) => panic!("once {once:?}, then {twice:?}"),
    }
});
