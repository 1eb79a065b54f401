//! Flags of `mergekit-yaml` given to `billon merge`.

use crate::context::{Context, Run};

fn merge(context: &Context, flags: &[&str]) -> Run {
    let text = "merge_method: passthrough\nmodels: [{model: fixtures/checkpoints/f32/ft1}]\n";
    let recipe = context.write("r.yml", text);
    let out = context.path("out");
    let mut arguments = vec!["merge", recipe.to_str().unwrap(), out.to_str().unwrap(), "--force"];
    arguments.extend(flags);
    context.run(arguments)
}

#[test]
fn flags_that_ask_for_what_is_done_anyway_are_accepted() {
    let context = Context::new();
    let silent = [
        "--copy-tokenizer",
        "--write-model-card",
        "--safe-serialization",
        "--lazy-unpickle",
        "--low-cpu-memory",
        "--clone-tensors",
        "--async-write",
        "--no-cuda",
        "--no-trust-remote-code",
        "--device",
        "cpu",
        "-v",
        "--verbose",
    ];
    let run = merge(&context, &silent);
    assert_eq!((run.code, run.stderr.contains("warning")), (Some(0), false), "{}", run.stderr);
    assert!(context.path("out/README.md").exists());
    // The last one of two contrary flags counts, as in mergekit.
    let run = merge(&context, &["--write-model-card", "--no-write-model-card"]);
    assert!(run.code == Some(0) && !context.path("out/README.md").exists(), "{}", run.stderr);
    let without = ["--write-threads", "2", "--lora-merge-cache", "x", "--transformers-cache", "y"];
    let run = merge(&context, &without);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let note = "no effect here: --lora-merge-cache, --transformers-cache, --write-threads";
    assert_eq!(run.stderr.matches(note).count(), 1, "{}", run.stderr);
}

#[test]
fn flags_that_ask_for_something_else_are_refused_by_name() {
    let context = Context::new();
    for (flags, named) in [
        (&["--cuda"][..], "`--cuda`"),
        (&["--copy-tokenizer", "--gpu-rich"], "`--gpu-rich`"),
        (&["--read-to-gpu"], "`--read-to-gpu`"),
        (&["--multi-gpu"], "`--multi-gpu`"),
        (&["--device", "cuda:0"], "`--device cuda:0`"),
        (&["--trust-remote-code"], "`--trust-remote-code`"),
        (&["--no-safe-serialization"], "`--no-safe-serialization`"),
    ] {
        let run = merge(&context, flags);
        assert_eq!(run.code, Some(2), "{flags:?}: {}", run.stderr);
        assert!(run.stderr.contains(named) && run.stderr.contains("hint: remove"), "{flags:?}: {}", run.stderr);
        assert!(!context.path("out").exists());
    }
}
