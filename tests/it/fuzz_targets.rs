//! The sources that cargo fuzz builds, each a program with a folder of its own: here functions named `run`.

#[path = "../../fuzz/fuzz_targets/adapter.rs"]
pub(crate) mod adapter;
#[path = "../../fuzz/fuzz_targets/gguf.rs"]
pub(crate) mod gguf;
#[path = "../../fuzz/fuzz_targets/header.rs"]
pub(crate) mod header;
#[path = "../../fuzz/fuzz_targets/lock.rs"]
pub(crate) mod lock;
#[path = "../../fuzz/fuzz_targets/recipe.rs"]
pub(crate) mod recipe;
#[path = "../../fuzz/fuzz_targets/results.rs"]
pub(crate) mod results;
#[path = "../../fuzz/fuzz_targets/task.rs"]
pub(crate) mod task;
#[path = "../../fuzz/fuzz_targets/template.rs"]
pub(crate) mod template;
