//! Evaluations whose scores would be wrong without a word: labels that nobody can hit, judges and
//! servers that give no answer, remembered answers that changed on disk.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use super::context::{Context, Run, files, fixture};

const TASK: &str = "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: d.jsonl}}\ntest_split: test\n\
    output_type: multiple_choice\ndoc_to_text: \"{{text}}\"\ndoc_to_target: label\n\
    doc_to_choice: [\"positive\",\"negative\"]\nmetric_list: [{metric: acc}]\n";

fn eval(context: &Context, task: &str, rows: &[Value], more: &[&str]) -> Run {
    let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
    context.write("d.jsonl", &rows);
    let task = context.write("t.yaml", task);
    let model = fixture("eval/model");
    let arguments = ["eval", model.to_str().unwrap(), "--tasks", task.to_str().unwrap()];
    context.run(arguments.iter().chain(more))
}

#[test]
fn labels_that_are_all_unknown_are_an_error_that_names_the_nearest() {
    let context = Context::new();
    let rows = |labels: &[Value]| -> Vec<Value> {
        labels
            .iter()
            .enumerate()
            .map(|(i, label)| json!({"text": format!("profit rose {i}"), "label": label}))
            .collect()
    };
    for (labels, hint) in [
        (vec![json!("Positive"), json!("Negative")], "did you mean `positive`?"),
        (vec![json!("positive "), json!("negative ")], "did you mean `positive`?"),
        (vec![json!("0"), json!("1")], "a number in quotes is a text"),
        (vec![json!(null), json!(null)], "the text of a choice, or its place from 0"),
        (vec![json!(7), json!(8)], "the text of a choice, or its place from 0"),
    ] {
        let run = eval(&context, TASK, &rows(&labels), &["-q"]);
        assert_eq!(run.code, Some(1), "{labels:?}: {}", run.stdout);
        assert!(run.stderr.contains("of none of 2 documents is among the choices"), "{}", run.stderr);
        assert!(run.stderr.contains(hint), "{labels:?}: {}", run.stderr);
    }
    // Where some are known the others count as wrong, said once.
    let run = eval(&context, TASK, &rows(&[json!("Positive"), json!("negative")]), &["--no-cache"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stderr.matches("none of the choices").count(), 1, "{}", run.stderr);
    assert!(
        run.stderr.contains("1 document is none of the choices (\"Positive\" of document 0; did you mean `positive`?)")
    );
}

/// One digit of a remembered number changed `acc` from 0.3750 to 0.5000.
#[test]
fn a_damaged_line_of_the_response_cache_is_scored_anew() {
    let context = Context::new();
    let rows: Vec<Value> = (0..8)
        .map(|i| {
            let label = if i % 2 == 0 { "positive" } else { "negative" };
            json!({"text": format!("profit rose {i} percent"), "label": label})
        })
        .collect();
    let first = eval(&context, TASK, &rows, &["--json"]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let results = |run: &Run| serde_json::from_str::<Value>(&run.stdout).unwrap()["results"].clone();
    let folder = context.path("cache/responses");
    let (name, bytes) = files(&folder).into_iter().next().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let place = text.find("\"score\":[").unwrap() + "\"score\":[".len();
    let mut damaged = text.clone().into_bytes();
    damaged[place + 2] = if damaged[place + 2] == b'1' { b'2' } else { b'1' };
    std::fs::write(folder.join(&name), damaged).unwrap();
    let again = eval(&context, TASK, &rows, &["--json"]);
    assert_eq!(results(&again), results(&first));
    let said = "1 record of the response cache";
    assert_eq!(again.stderr.matches(said).count(), 1, "{}", again.stderr);
    let quiet = eval(&context, TASK, &rows, &["-q"]);
    assert!(quiet.code == Some(0) && quiet.stderr.is_empty(), "{}", quiet.stderr);
}

/// A server that answers every request with what `answer` makes of its body.
fn server(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).unwrap();
            let body = if head.starts_with("get") {
                json!({"data": [{"id": "m"}]})
            } else {
                answer(&serde_json::from_slice(&body).unwrap())
            };
            let text = body.to_string();
            let _ =
                write!(stream, "HTTP/1.1 200 X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
        }
    });
    url
}

/// An echo of the prompt's ids; the last one of a prompt longer than `probe` gets `last`.
fn echo(body: &Value, probe: usize, last: f64) -> Value {
    let count = body["prompt"].as_array().unwrap().len();
    let mut values: Vec<Value> = (0..count).map(|i| json!(-1.0 - i as f64 / 8.0)).collect();
    values[0] = Value::Null;
    if count != probe {
        values[count - 1] = json!(last);
    }
    values.push(json!(-0.5));
    let top: Vec<Value> = values.iter().map(|v| if v.is_null() { v.clone() } else { json!({"z": -0.01}) }).collect();
    json!({"choices": [{"text": "", "logprobs": {"token_logprobs": values, "top_logprobs": top}}]})
}

#[test]
fn log_probabilities_above_0_are_refused() {
    let rows = [json!({"text": "profit rose", "label": "positive"})];
    for (last, code) in [(3.0, 1), (0.1, 1), (1e-5, 0), (-9999.0, 0)] {
        let context = Context::new();
        let url = server(move |body| echo(body, usize::MAX, last));
        let run = eval(&context, TASK, &rows, &["--backend", "openai", "--base-url", &url]);
        assert_eq!(run.code, Some(code), "{last}: {}", run.stderr);
        if code == 1 {
            assert!(run.stderr.contains("which is no log-probability"), "{last}: {}", run.stderr);
            let cache = context.path("cache");
            let remembered = if cache.exists() { files(&cache).values().map(Vec::len).sum() } else { 0 };
            assert_eq!(remembered, 0, "nothing wrong is remembered");
        }
    }
}

#[test]
fn a_server_that_does_not_echo_is_named_as_one() {
    let rows = [json!({"text": "profit rose", "label": "positive"})];
    let context = Context::new();
    let url = server(|_| {
        json!({"choices": [{"text": "x", "logprobs": {"tokens": ["g"], "token_logprobs": [-0.5],
            "top_logprobs": [{"z": -0.1}], "text_offset": [0]}}]})
    });
    let run = eval(&context, TASK, &rows, &["--backend", "openai", "--base-url", &url]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("does not return the prompt's log-probabilities"), "{}", run.stderr);
    assert!(run.stderr.contains("scoring needs `/completions` with `echo`"), "{}", run.stderr);
}

const FREE: &str = "task: free\ndataset_path: json\ndataset_kwargs: {data_files: {test: d.jsonl}}\ntest_split: test\n\
    output_type: generate_until\ndoc_to_text: \"{{text}}\"\ndoc_to_target: label\n\
    generation_kwargs: {max_gen_toks: 3}\nmetric_list: [{metric: exact_match}]\nmetadata: {metrics: [llm_judge]}\n";

#[test]
fn a_judge_without_a_verdict_scores_nothing() {
    let rows: Vec<Value> = (0..4).map(|i| json!({"text": format!("profit {i}"), "label": "yes"})).collect();
    let judged = |replies: &'static [&'static str]| {
        let context = Context::new();
        let url = server(move |body| {
            let text = body["messages"].to_string();
            let reply = (0..4).find(|i| text.contains(&format!("profit {i}"))).map_or("unclear", |i| replies[i]);
            json!({"choices": [{"message": {"content": reply}}]})
        });
        eval(&context, FREE, &rows, &["--judge-url", &url, "--judge-model", "j", "--json"])
    };
    for replies in [&["I cannot decide"; 4], &["unclear"; 4]] {
        let run = judged(replies);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let result: Value = serde_json::from_str(&run.stdout).unwrap();
        assert!(result["results"]["free"].get("llm_judge,none").is_none(), "{}", result["results"]["free"]);
        assert!(run.stdout.contains("llm_judge (the judge decided none of 4 answers)"), "{}", run.stdout);
    }
    // Of three verdicts one is `correct`; the fourth answer is not scored.
    let run = judged(&["correct", "incorrect", "unclear", "Well, it depends"]);
    let result: Value = serde_json::from_str(&run.stdout).unwrap();
    let score = result["results"]["free"]["llm_judge,none"].as_f64().unwrap();
    assert!((score - 1.0 / 3.0).abs() < 1e-12, "{score}");
    assert!(run.stderr.contains("gave no verdict, so the answer is not scored"), "{}", run.stderr);
}

#[test]
fn a_text_that_never_came_is_not_a_wrong_answer() {
    let rows = [json!({"text": "profit rose", "label": "yes"})];
    for (chat, answer) in [
        (true, json!({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]})),
        (true, json!({"choices": [{"message": {"content": null}, "finish_reason": "stop"}]})),
        (false, json!({"choices": [{"text": "", "finish_reason": "abort"}]})),
        (false, json!({"choices": [{"text": null}]})),
        (false, json!({"choices": []})),
    ] {
        let context = Context::new();
        let url = {
            let answer = answer.clone();
            server(move |_| answer.clone())
        };
        let mut flags = vec!["--backend", "openai", "--base-url", &url];
        flags.extend(chat.then_some("--chat-completions"));
        let run = eval(&context, FREE, &rows, &flags);
        assert_eq!(run.code, Some(1), "{answer}: {}", run.stdout);
    }
}
