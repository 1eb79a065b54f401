//! `Lock::read` and `verify` on arbitrary locks: they may never panic, and only name files of the folder as right.

#![no_main]

mod scratch;

use billon::internal::Lock;
use billon::internal::merge_kernels::Cpu;
use billon::internal::{CancelFlag, Progress, Silent};
use billon::internal::{VerifyOptions, Workers, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    scratch::write("billon.lock.json", input);
    match Lock::read(scratch::folder()) {
        Ok(lock) => {
            let text = lock.text();
            scratch::write("billon.lock.json", text.as_bytes());
            let again = Lock::read(scratch::folder()).expect("what is written is read");
            assert_eq!(again.text(), text);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let progress = Progress { reporter: &Silent, cancel: &CancelFlag::new() };
    let options = VerifyOptions { sample: 1, workers: Workers::new(1), require_derived: false };
    match verify(scratch::folder(), options, &Cpu, progress) {
        Ok(report) => assert!(report.files_verified <= 1, "the folder holds nothing but the lock"),
        Err(error) => assert!(error.chain().iter().all(|message| !message.is_empty())),
    }
});
