//! The local model behind its trait: scores against the plain definition, and the same bits whatever
//! the batches, the threads, the order and the company of the requests.

use std::path::Path;
use std::sync::Mutex;

use billon::internal::ModelDir;
use billon::internal::{CancelFlag, Event, Progress, Reporter, Silent};
use billon::internal::{Decoder, DecoderOptions, Segment};
use billon::internal::{GenerateRequest, LanguageModel, Score, ScoreRequest};
use billon::internal::{LocalModel, LocalOptions, Workers};
use serde_json::Value;

use crate::context::fixture;

static QUIET: CancelFlag = CancelFlag::new();

fn model(folder: &Path, batch_tokens: usize, threads: usize) -> LocalModel {
    let decoder = Decoder::open(&ModelDir::open(folder).unwrap(), &DecoderOptions::default()).unwrap();
    let words = |tokens: &[u32]| Ok(tokens.iter().map(|token| format!("<{token}>")).collect());
    LocalModel::new(decoder, Box::new(words), LocalOptions { batch_tokens, seed: 7, workers: Workers::new(threads) })
}

/// Documents of a task: an instruction that all share, examples that some share, and choices of one
/// and of several tokens.
fn requests() -> Vec<ScoreRequest> {
    let token = |a: usize, b: usize| (3 + (a * 31 + b * 17 + a * b) % 60) as u32;
    let mut requests = Vec::new();
    for document in 0..12 {
        let mut context: Vec<u32> = (0..33).map(|i| token(1, i)).collect();
        if document % 3 == 0 {
            context.truncate(26);
        }
        context.extend((0..document % 5 * 4).map(|i| token(2, i)));
        context.extend((0..3 + document % 2).map(|i| token(document + 3, i)));
        let choices: &[&[u32]] = match document % 4 {
            0 => &[&[5], &[9], &[30]],
            1 => &[&[5, 6, 7], &[5, 9], &[30], &[]],
            2 => &[&[8, 8, 8, 8, 8, 9, 10, 11]],
            _ => &[&[12, 13], &[12, 13, 14, 15]],
        };
        requests.extend(choices.iter().map(|c| ScoreRequest { context: context.clone(), continuation: c.to_vec() }));
    }
    requests
}

fn scores(model: &LocalModel, requests: &[ScoreRequest]) -> Vec<Score> {
    let found = Mutex::new(vec![None; requests.len()]);
    let done = |index: usize, score| {
        assert!(found.lock().unwrap()[index].replace(score).is_none(), "request {index} was answered twice");
    };
    model.score(requests, &done, Progress { reporter: &Silent, cancel: &QUIET }).unwrap();
    found.into_inner().unwrap().into_iter().map(|score| score.expect("every request is answered")).collect()
}

/// The definition: the whole sequence at once, a softmax in f64 at each scored row.
fn by_definition(decoder: &Decoder, request: &ScoreRequest) -> Score {
    let tokens = [request.context.as_slice(), &request.continuation].concat();
    let read = &tokens[..tokens.len() - 1];
    let segment = Segment { tokens: read, past: Vec::new(), factors: decoder.rope_factors(read.len()), keep: false };
    let rows: Vec<usize> = (request.context.len() - 1..read.len()).collect();
    let mut score = Score { logprob: 0.0, is_greedy: true };
    if rows.is_empty() {
        return score;
    }
    let hidden = decoder.forward(&[segment], &rows).unwrap().hidden.unwrap();
    for (row, token) in request.continuation.iter().enumerate() {
        let logits: Vec<f64> = decoder.logits(&hidden, row..row + 1).unwrap().into_iter().map(f64::from).collect();
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        let mine = logits[*token as usize];
        score.logprob += mine - sum.ln();
        score.is_greedy &= logits.iter().all(|logit| *logit <= mine);
    }
    score
}

#[test]
fn scores_follow_the_definition_and_depend_on_nothing_else() {
    for family in ["llama", "phi3", "gemma3"] {
        let folder = fixture("models").join(family);
        let requests = requests();
        let first = scores(&model(&folder, 512, 1), &requests);
        let reference = model(&folder, 512, 1);
        for (request, score) in requests.iter().zip(&first) {
            let expected = by_definition(reference.decoder(), request);
            assert!((score.logprob - expected.logprob).abs() < 1e-5, "{family} {score:?} {expected:?}");
            assert_eq!(score.is_greedy, expected.is_greedy, "{family}");
        }
        for (batch_tokens, threads) in [(512, 3), (64, 2), (17, 1), (1, 2)] {
            assert_eq!(scores(&model(&folder, batch_tokens, threads), &requests), first, "{family} {batch_tokens}");
        }
        let model = model(&folder, 100, 2);
        let reversed: Vec<ScoreRequest> = requests.iter().rev().cloned().collect();
        let mut again = scores(&model, &reversed);
        again.reverse();
        assert_eq!(again, first, "{family}");
        for (request, score) in requests.iter().zip(&first) {
            assert_eq!(&scores(&model, std::slice::from_ref(request))[0], score, "{family}: alone");
        }
    }
}

/// Counts what the model reports.
#[derive(Default)]
struct Count(Mutex<usize>);

impl Reporter for Count {
    fn event(&self, event: Event) {
        if let Event::RequestsScored(count) = event {
            *self.0.lock().unwrap() += count;
        }
    }
}

#[test]
fn progress_adds_up_and_a_raised_flag_stops() {
    let model = model(&fixture("models/qwen2"), 32, 2);
    let (requests, count) = (requests(), Count::default());
    model.score(&requests, &|_, _| {}, Progress { reporter: &count, cancel: &QUIET }).unwrap();
    assert_eq!(*count.0.lock().unwrap(), requests.len());
    let flag = CancelFlag::new();
    // The first answer raises the flag: the run ends without the others.
    let answers = Mutex::new(0);
    let stop = |_, _| {
        *answers.lock().unwrap() += 1;
        flag.cancel();
    };
    let error = model.score(&requests[1..], &stop, Progress { reporter: &Silent, cancel: &flag }).unwrap_err();
    assert_eq!(error.kind().name(), "cancelled");
    assert!(*answers.lock().unwrap() < requests.len() - 1);
}

#[test]
fn a_layer_with_broken_weights_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("models/llama");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(source.join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("model.safetensors");
    let opened = ModelDir::open(folder.path()).unwrap();
    let start = opened.tensors()["model.layers.1.mlp.down_proj.weight"].range.start as usize;
    drop(opened);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let broken = model(folder.path(), 64, 2);
    let error = broken.score(&requests(), &|_, _| {}, Progress { reporter: &Silent, cancel: &QUIET }).unwrap_err();
    assert!(error.to_string().contains("layer 1"), "{error}");
    let mut asked = request(&[5, 6, 7], &[], 4);
    let error =
        broken.generate(std::slice::from_ref(&asked), &|_, _| {}, Progress { reporter: &Silent, cancel: &QUIET });
    assert!(error.unwrap_err().to_string().contains("layer 1"));
    asked.context = vec![67];
    let error = broken.generate(&[asked], &|_, _| {}, Progress { reporter: &Silent, cancel: &QUIET }).unwrap_err();
    assert!(error.to_string().contains("token 67"), "{error}");
}

fn request(context: &[u32], until: &[&str], max_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        context: context.to_vec(),
        text: String::new(),
        messages: Vec::new(),
        until: until.iter().map(|stop| (*stop).to_owned()).collect(),
        max_tokens,
        temperature: 0.0,
    }
}

fn texts(model: &LocalModel, requests: &[GenerateRequest]) -> Vec<String> {
    let found = Mutex::new(vec![String::new(); requests.len()]);
    let done = |index: usize, generation: billon::internal::Generation| {
        found.lock().unwrap()[index] = generation.text;
    };
    model.generate(requests, &done, Progress { reporter: &Silent, cancel: &QUIET }).unwrap();
    found.into_inner().unwrap()
}

#[test]
fn texts_are_those_of_transformers_up_to_the_first_stop() {
    for family in ["llama3", "phi3", "gemma2"] {
        let folder = fixture("models").join(family);
        let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let mut requests = Vec::new();
        let mut wanted = Vec::new();
        for case in expected["greedy"].as_array().unwrap() {
            let ids = |key: &str| -> Vec<u32> {
                case[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
            };
            let mut new = ids("new");
            if new.last() == Some(&2) {
                new.pop();
            }
            let text: String = new.iter().map(|token| format!("<{token}>")).collect();
            let stop = format!("<{}>", new[new.len() / 2]);
            for (until, most) in [(vec![], 24), (vec![stop.as_str(), ""], 24), (vec![], 3), (vec![], 0)] {
                requests.push(request(&ids("prompt"), &until, most));
                let text: String = new.iter().take(most).map(|token| format!("<{token}>")).collect();
                let cut = until.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop)).min();
                wanted.push(text[..cut.unwrap_or(text.len())].to_owned());
            }
            assert!(!text.is_empty());
        }
        for (batch_tokens, threads) in [(512, 1), (16, 2)] {
            assert_eq!(texts(&model(&folder, batch_tokens, threads), &requests), wanted, "{family}");
        }
    }
}

#[test]
fn sampling_repeats_by_seed_and_differs_between_equal_requests() {
    let folder = fixture("models/gemma2");
    let mut warm = request(&[5, 6, 7], &[], 12);
    warm.temperature = 1.0;
    let requests = vec![warm; 4];
    let first = texts(&model(&folder, 64, 1), &requests);
    assert_eq!(texts(&model(&folder, 64, 3), &requests), first);
    assert!(first.iter().any(|text| *text != first[0]), "{first:?}");
}
