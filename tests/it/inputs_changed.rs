//! Inputs that another program changes while they are read.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use safetensors::Dtype;

use crate::checkpoint::{self, Stored, Tensors};
use crate::context::Context;

/// A model large enough that a merge in the dev profile takes a while.
fn model(context: &Context, name: &str) -> PathBuf {
    let tensors: Tensors = (0..3)
        .map(|number| {
            let values = vec![f64::from(number) + 0.5; 1 << 20];
            (format!("model.layers.{number}.w.weight"), Stored::new(Dtype::F32, &[1 << 10, 1 << 10], &values))
        })
        .collect();
    checkpoint::write(&context.path(name), &tensors, Some("{\"num_hidden_layers\": 3}"));
    context.path(name)
}

/// Starts a merge, changes an input once its weights are opened, and gives exit code and message.
fn merged_while(context: &Context, change: impl FnOnce(&Path)) -> (Option<i32>, String) {
    let (one, two) = (model(context, "one"), model(context, "two"));
    let recipe = format!(
        "merge_method: ties\nbase_model: {}\nparameters: {{weight: 0.5, density: 0.3, rescale: true}}\nmodels:\n\
         - model: {}\n",
        one.display(),
        two.display()
    );
    let recipe = context.write("r.yml", &recipe);
    let mut command = context.command();
    let child = command.arg("merge").arg(recipe).arg(context.path("out")).args(["-q", "-j1"]).spawn().unwrap();
    // The staging directory appears when everything is planned and hashed.
    let begun = Instant::now();
    while context.leftovers().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    change(&two.join("model.safetensors"));
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn refused(context: &Context, (code, stderr): (Option<i32>, String), part: &str) {
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("two/model.safetensors") && stderr.contains(part), "{stderr}");
    assert!(!context.path("out").exists() && context.leftovers().is_empty());
}

#[test]
fn an_input_that_is_overwritten_during_a_merge_fails_it() {
    let context = Context::new();
    let result = merged_while(&context, |path| {
        let mut file = File::options().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(1 << 20)).unwrap();
        file.write_all(&[0; 4096]).unwrap();
    });
    refused(&context, result, "changed while it was being read");
}

#[test]
fn an_input_that_is_cut_short_during_a_merge_fails_it_and_is_no_bus_error() {
    let context = Context::new();
    let result = merged_while(&context, |path| File::options().write(true).open(path).unwrap().set_len(5000).unwrap());
    refused(&context, result, "changed while it was being read");
}

#[test]
fn an_input_that_is_replaced_during_a_merge_fails_it() {
    let context = Context::new();
    let result = merged_while(&context, |path| {
        let other = path.with_extension("new");
        std::fs::copy(path, &other).unwrap();
        std::fs::rename(other, path).unwrap();
    });
    refused(&context, result, "another file took its place");
}
