//! Data of tasks: read as the harness reads them, bounded, and never half.

use std::io::Write as _;

use serde_json::{Value, json};

use super::context::{Context, Run, fixture};

const TASK: &str = "task: t\ndataset_path: FORMAT\ndataset_kwargs: {data_files: {test: FILE}}\ntest_split: test\n\
    output_type: multiple_choice\ndoc_to_text: \"{{text}}\"\ndoc_to_choice: [\" up\",\" down\"]\ndoc_to_target: index\n";

fn show(context: &Context, file: &str, bytes: &[u8], more: &[&str]) -> Run {
    std::fs::write(context.path(file), bytes).unwrap();
    let format = if file.contains("csv") { "csv" } else { "json" };
    let task = context.write("t.yaml", &TASK.replace("FORMAT", format).replace("FILE", file));
    context.run(["tasks", "show", task.to_str().unwrap(), "--json"].iter().chain(more))
}

fn context_of(run: &Run) -> Value {
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    serde_json::from_str::<Value>(&run.stdout).unwrap()["context"].clone()
}

/// pandas keeps the first as `text` and calls the second `text.1`.
#[test]
fn of_two_csv_columns_of_one_name_the_first_keeps_it() {
    let context = Context::new();
    let run = show(&context, "t.csv", b"text,text,index\na,b,0\n", &[]);
    assert_eq!(context_of(&run), "a");
    let shown: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(shown["doc"], json!({"text": "a", "text.1": "b", "index": 0}));
}

#[test]
fn packed_data_are_read_or_named() {
    let context = Context::new();
    let rows = b"{\"text\": \"packed\", \"index\": 0}\n";
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(rows).unwrap();
    let packed = packer.finish().unwrap();
    assert_eq!(context_of(&show(&context, "d.jsonl.gz", &packed, &[])), "packed");
    let cut = show(&context, "d.jsonl.gz", &packed[..packed.len() - 12], &[]);
    assert!(cut.code == Some(1) && cut.stderr.contains("the gzip file is damaged"), "{}", cut.stderr);
    for (magic, name) in [(&b"\x28\xb5\x2f\xfd....."[..], "zstd"), (b"BZh91AY", "bzip2"), (b"PK\x03\x04..", "zip")] {
        let run = show(&context, "d.jsonl.packed", magic, &[]);
        assert!(run.code == Some(1) && run.stderr.contains(&format!("packed with {name}")), "{}", run.stderr);
    }
}

/// 5,000 rows of 160 kB took 9 GB: every row got a null for every key of the others.
#[test]
fn rows_without_common_columns_are_refused_before_they_fill_the_memory() {
    let context = Context::new();
    let rows = |count: usize| -> String {
        (0..count).map(|i| format!("{{\"text\":\"a\",\"index\":0,\"k{i}\":1}}\n")).collect()
    };
    let run = show(&context, "w.jsonl", rows(5000).as_bytes(), &[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("w.jsonl: 5000 rows have 5002 different columns"), "{}", run.stderr);
    // A few hundred are a table with gaps, as the harness has it: what a row lacks is null.
    let run = show(&context, "w.jsonl", rows(300).as_bytes(), &["--doc", "2"]);
    let shown: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&shown["doc"]["k2"], &shown["doc"]["k3"]), (&json!(1), &Value::Null));
}

#[test]
fn documents_beyond_any_prompt_are_refused_and_not_quoted() {
    let context = Context::new();
    let row = format!("{{\"text\": \"a\", \"index\": 0}}\n{{\"text\": \"{}\", \"index\": 0}}\n", "x".repeat(17 << 20));
    let run = show(&context, "long.jsonl", row.as_bytes(), &[]);
    assert!(
        run.code == Some(1) && run.stderr.contains("long.jsonl:2: the row has more than 16 MiB"),
        "{:.300}",
        run.stderr
    );
    // A document that a template cannot use is named, not printed.
    let columns: String = (0..3000).map(|i| format!("\"column{i}\": 1, ")).collect();
    let run = show(&context, "wide.jsonl", format!("{{{columns}\"index\": 0}}\n").as_bytes(), &[]);
    assert!(run.code == Some(1) && run.stderr.contains("and 2961 more"), "{:.300}", run.stderr);
    assert!(run.stderr.len() < 3000, "{}", run.stderr.len());
}

/// The prompts of a draw are those of the full run, examples and all.
#[test]
fn a_sample_with_shots_gives_a_document_the_examples_of_the_full_run() {
    let context = Context::new();
    let rows = |from: usize, count: usize| -> String {
        (from..from + count).map(|i| json!({"q": format!("question {i}"), "a": i % 2}).to_string() + "\n").collect()
    };
    context.write("train.jsonl", &rows(100, 40));
    context.write("test.jsonl", &rows(0, 30));
    let text = "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {train: train.jsonl, test: test.jsonl}}\n\
        training_split: train\ntest_split: test\nSPLITnum_fewshot: 3\noutput_type: multiple_choice\n\
        doc_to_text: \"{{q}}\"\ndoc_to_target: a\ndoc_to_choice: [n, y]\n";
    let model = fixture("eval/model");
    // The second split excludes the document itself, which draws one example more.
    for (name, split) in [("train", "fewshot_split: train\n"), ("test", "fewshot_split: test\n")] {
        let task = context.write(&format!("{name}.yaml"), &text.replace("SPLIT", split));
        let prompts = |more: &[&str]| -> std::collections::BTreeMap<u64, Value> {
            let out = context.path(&format!("{name}{}", more.concat()));
            let arguments =
                ["eval", model.to_str().unwrap(), "--tasks", task.to_str().unwrap(), "--no-cache", "-q", "--out"];
            let run = context.run(arguments.iter().chain(&[out.to_str().unwrap()]).chain(more));
            assert_eq!(run.code, Some(0), "{}", run.stderr);
            let files = super::context::files(&out);
            let (_, bytes) = files.iter().find(|(name, _)| name.to_string_lossy().contains("samples_")).unwrap();
            let lines = std::str::from_utf8(bytes).unwrap().lines();
            let samples = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
            samples.map(|s| (s["doc_id"].as_u64().unwrap(), s["arguments"].clone())).collect()
        };
        let full = prompts(&[]);
        assert_eq!(full.len(), 30);
        for more in [&["--sample", "7"][..], &["--sample", "7", "--seed", "5"], &["--limit", "9"]] {
            let drawn = prompts(more);
            assert!(drawn.len() >= 7 && drawn.len() < 10, "{more:?}");
            for (id, arguments) in &drawn {
                assert_eq!(arguments, &full[id], "{name} {more:?}: document {id}");
            }
        }
        assert!(prompts(&["--sample", "7", "--seed", "5"]).keys().copied().ne(0..7), "a draw, not the first ones");
    }
}
