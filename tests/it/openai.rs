//! The OpenAI-compatible backend and the judge against a scripted server that fails in every way
//! a server can.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use billon::internal::ErrorKind;
use billon::internal::{CancelFlag, Progress, Silent};
use billon::internal::{ClientOptions, Decode, Needs, OpenAiServer, RetryPolicy, ServerOptions};
use billon::internal::{GenerateRequest, LanguageModel, Score, ScoreRequest};
use billon::internal::{Judge, JudgeOptions, Prices, Question, Verdict, accuracy};
use serde_json::{Value, json};

use super::context::Context;

/// What the server does with a request.
enum Reaction {
    Answer(u16, Value),
    Header(u16, &'static str, &'static str),
    /// Says it will send more than it does.
    Truncated(String),
    Reset,
    Slow(Duration),
}

/// A request as the script sees it; `attempt` counts equal ones from 0.
struct Seen {
    path: String,
    head: String,
    body: Value,
    attempt: usize,
}

struct Server {
    url: String,
    count: Arc<Mutex<usize>>,
}

impl Server {
    fn start(script: impl Fn(&Seen) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let script = Arc::new(script);
        let seen: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let count: Arc<Mutex<usize>> = Arc::default();
        let counted = Arc::clone(&count);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, seen, counted) = (Arc::clone(&script), Arc::clone(&seen), Arc::clone(&counted));
                std::thread::spawn(move || {
                    let _ = serve(stream.unwrap(), &*script, &seen, &counted);
                });
            }
        });
        Self { url, count }
    }

    fn requests(&self) -> usize {
        *self.count.lock().unwrap()
    }
}

fn serve(
    mut stream: TcpStream,
    script: &dyn Fn(&Seen) -> Reaction,
    seen: &Mutex<BTreeMap<String, usize>>,
    count: &Mutex<usize>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = |name: &str| head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix(name)?.trim().parse().ok());
    let mut body = vec![0; length("content-length:").unwrap_or(0)];
    stream.read_exact(&mut body)?;
    let path = head.split(' ').nth(1).unwrap().to_owned();
    *count.lock().unwrap() += 1;
    let attempt = {
        let mut seen = seen.lock().unwrap();
        let attempts = seen.entry(format!("{path}{}", String::from_utf8_lossy(&body))).or_default();
        *attempts += 1;
        *attempts - 1
    };
    let request = Seen { path, head, body: serde_json::from_slice(&body).unwrap_or_default(), attempt };
    let mut send = |status: u16, header: &str, length: usize, text: &str| {
        write!(stream, "HTTP/1.1 {status} X\r\n{header}content-length: {length}\r\nconnection: close\r\n\r\n{text}")?;
        stream.flush()
    };
    match script(&request) {
        Reaction::Answer(status, value) => send(status, "", value.to_string().len(), &value.to_string()),
        Reaction::Header(status, name, value) => send(status, &format!("{name}: {value}\r\n"), 2, "{}"),
        Reaction::Truncated(text) => send(200, "", text.len() + 50, &text),
        Reaction::Reset => Ok(()),
        Reaction::Slow(time) => {
            std::thread::sleep(time);
            send(200, "", 2, "{}")
        }
    }
}

/// The log-probability that the scripted model gives token `token` at place `position`.
fn logprob(token: u64, position: usize) -> f64 {
    let step = ((token * 7 + position as u64 * 3) % 11) as f64;
    -step / 8.0
}

/// The answer of a good server.
fn echo(request: &Seen) -> Value {
    let ids: Vec<u64> = request.body["prompt"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    assert!(request.body["echo"] == true && request.body["temperature"] == 0);
    let mut logprobs: Vec<Value> = ids.iter().enumerate().map(|(i, id)| logprob(*id, i).into()).collect();
    logprobs[0] = Value::Null;
    let mut top: Vec<Value> =
        ids.iter().enumerate().map(|(i, id)| json!({ "best": -0.25, "own": logprob(*id, i) })).collect();
    top[0] = Value::Null;
    // The token that was generated after the prompt.
    logprobs.push((-9.0).into());
    top.push(json!({ "x": -9.0 }));
    json!({ "choices": [{ "text": "", "logprobs": { "token_logprobs": logprobs, "top_logprobs": top } }] })
}

/// A text server's answer to the probe: it writes `!` with -0.5, and reads it with `read`.
fn probed(text: &str, read: f64) -> Value {
    let (tokens, values, offsets) = match text {
        "probe" => (json!(["probe", "!"]), [Value::Null, (-0.5).into()], [0, 5]),
        _ => (json!(["probe", "!"]), [Value::Null, read.into()], [0, 5]),
    };
    let top = json!([null, { "!": values[1] }]);
    let logprobs = json!({ "tokens": tokens, "token_logprobs": values, "top_logprobs": top, "text_offset": offsets });
    json!({ "choices": [{ "logprobs": logprobs }] })
}

fn models(names: &[&str]) -> Value {
    json!({ "data": names.iter().map(|name| json!({ "id": name })).collect::<Vec<_>>() })
}

fn client(url: &str) -> ClientOptions {
    ClientOptions {
        base_url: url.to_owned(),
        key_variable: None,
        timeout: Duration::from_millis(700),
        retry: RetryPolicy { attempts: 4, first: Duration::from_millis(2), longest: Duration::from_secs(5), seed: 1 },
    }
}

fn options(url: &str) -> ServerOptions {
    ServerOptions {
        client: client(url),
        model: "m".to_owned(),
        max_length: 100,
        concurrency: 6,
        chat: true,
        score_max_tokens: 1,
        seed: 1234,
        probe: vec![1, 4, 5, 6],
        decode: None,
    }
}

const SCORE: Needs = Needs { score: true, generate: false };

fn connect(options: ServerOptions) -> billon::Result<OpenAiServer> {
    OpenAiServer::connect(options, SCORE, &CancelFlag::new())
}

fn requests(n: u32) -> Vec<ScoreRequest> {
    (0..n)
        .map(|i| ScoreRequest { context: vec![1, 20 + i, 3], continuation: (0..i % 4).map(|j| i + j).collect() })
        .collect()
}

fn expected(request: &ScoreRequest) -> Score {
    let mut score = Score { logprob: 0.0, is_greedy: true };
    for (j, token) in request.continuation.iter().enumerate() {
        let value = logprob(u64::from(*token), request.context.len() + j);
        score.logprob += value;
        score.is_greedy &= value >= -0.25;
    }
    score
}

fn score(server: &OpenAiServer, requests: &[ScoreRequest]) -> billon::Result<Vec<Option<Score>>> {
    let scores = Mutex::new(vec![None; requests.len()]);
    let cancel = CancelFlag::new();
    let progress = Progress { reporter: &Silent, cancel: &cancel };
    server.score(requests, &|i, score| assert!(scores.lock().unwrap()[i].replace(score).is_none()), progress)?;
    Ok(scores.into_inner().unwrap())
}

/// Every kind of failure on the way, and still every score is right, each given once.
#[test]
fn scores_are_right_whatever_fails_on_the_way() {
    let server = Server::start(|request| {
        if request.path.ends_with("/models") {
            return Reaction::Answer(200, models(&["other", "m"]));
        }
        let kind = request.body["prompt"][1].as_u64().unwrap() % 7;
        match (request.attempt, kind) {
            (0, 0) => Reaction::Answer(500, json!({ "error": { "message": "out of memory" } })),
            (0, 1) => Reaction::Header(429, "Retry-After", "0.3"),
            (0 | 1, 2) => Reaction::Reset,
            (0, 3) => Reaction::Truncated("{\"choices\": [{\"te".to_owned()),
            (0, 4) => Reaction::Slow(Duration::from_millis(900)),
            (0, 5) => Reaction::Answer(503, Value::Null),
            _ => Reaction::Answer(200, echo(request)),
        }
    });
    let model = connect(options(&server.url)).unwrap();
    assert_eq!((model.model(), model.max_length(), model.sends_ids()), ("m", 100, true));
    let requests = requests(40);
    let started = Instant::now();
    let scores = score(&model, &requests).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300), "Retry-After was not honoured");
    for (request, score) in requests.iter().zip(&scores) {
        assert_eq!(*score, Some(expected(request)), "{request:?}");
    }
    assert!(scores.iter().flatten().any(|s| s.is_greedy) && scores.iter().flatten().any(|s| !s.is_greedy));
}

#[test]
fn a_server_that_stays_broken_ends_the_run_and_names_the_request() {
    let server = Server::start(|request| match request.path.as_str() {
        path if path.ends_with("/models") => Reaction::Answer(200, models(&["m"])),
        _ if request.body["prompt"][1] == 25 => Reaction::Answer(500, json!({ "detail": "disk\nfull" })),
        _ => Reaction::Answer(200, echo(request)),
    });
    let model = connect(ServerOptions { concurrency: 1, ..options(&server.url) }).unwrap();
    let before = server.requests();
    let error = score(&model, &requests(40)).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("scoring request 5 in 4 attempts") && message.contains("500 disk full"), "{message}");
    assert_eq!(error.kind(), ErrorKind::Io);
    // Of the five before it, two had nothing to score.
    assert_eq!(server.requests() - before, 3 + 4);
}

type Damage = fn(&mut Value);

#[test]
fn wrong_answers_are_errors_and_not_scores() {
    let cases: [(&str, Damage); 4] = [
        ("for a prompt of 4 tokens", |answer| {
            answer["choices"][0]["logprobs"]["token_logprobs"].as_array_mut().unwrap().truncate(3);
        }),
        ("for a prompt of 4 tokens", |answer| {
            for field in ["token_logprobs", "top_logprobs"] {
                let list = answer["choices"][0]["logprobs"][field].as_array_mut().unwrap();
                list.push(list[1].clone());
            }
        }),
        ("no log-probability for prompt token 3", |answer| {
            answer["choices"][0]["logprobs"]["token_logprobs"][3] = Value::Null;
        }),
        ("does not return the prompt's log-probabilities", |answer| answer["choices"][0]["logprobs"] = Value::Null),
    ];
    for (expected, damage) in cases {
        let server = Server::start(move |request| {
            if request.path.ends_with("/models") {
                return Reaction::Answer(200, models(&["m"]));
            }
            let mut answer = echo(request);
            // The probe is answered well.
            if request.body["prompt"][1] == 8 {
                damage(&mut answer);
            }
            Reaction::Answer(200, answer)
        });
        let model = connect(options(&server.url)).unwrap();
        let request = ScoreRequest { context: vec![1, 8, 3], continuation: vec![4] };
        let message = score(&model, &[request]).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn the_probe_says_what_the_server_cannot_do() {
    let start = |reaction: fn(&Seen) -> Reaction| {
        Server::start(move |request| match request.path.as_str() {
            path if path.ends_with("/models") => Reaction::Answer(200, models(&["a", "b"])),
            _ => reaction(request),
        })
    };
    let named = |server: &Server| ServerOptions { model: "a".to_owned(), ..options(&server.url) };
    let plain = start(|_| Reaction::Answer(200, json!({ "choices": [{ "text": "x", "logprobs": null }] })));
    let message = |options| connect(options).err().unwrap();
    let error = message(options(&plain.url));
    assert!(error.to_string().contains("has no model `m`; it has `a`, `b`"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Usage);
    let error = message(named(&plain));
    assert!(error.to_string().contains("log-probabilities") && error.hints()[0].contains("echo"), "{error}");
    let chat_only = start(|_| Reaction::Answer(404, json!({ "error": { "message": "no such route" } })));
    assert!(message(named(&chat_only)).to_string().contains("no such route"));
    let text_only = start(|request| match request.body["prompt"] {
        Value::String(ref text) => Reaction::Answer(200, probed(text, -0.5)),
        _ => Reaction::Answer(422, json!({ "detail": "prompt: str type expected" })),
    });
    let error = message(named(&text_only));
    assert!(error.to_string().contains("does not take token ids") && error.to_string().contains("str type"), "{error}");
    let decode = || -> Option<Decode> { Some(Box::new(|_| Ok("probe".to_owned()))) };
    assert!(!connect(ServerOptions { decode: decode(), ..named(&text_only) }).unwrap().sends_ids());
    let misplaced = start(|request| match request.body["prompt"] {
        Value::String(ref text) => Reaction::Answer(200, probed(text, -7.0)),
        _ => Reaction::Answer(500, Value::Null),
    });
    let error = message(ServerOptions { decode: decode(), ..named(&misplaced) });
    assert!(error.to_string().contains("gives a token -0.5 when it writes it and -7"), "{error}");
    let mut elsewhere = options("http://127.0.0.1:1/v1");
    elsewhere.client.retry.attempts = 2;
    assert!(message(elsewhere).to_string().contains("in 2 attempts"));
    assert!(message(options("localhost:8000")).to_string().contains("base URL"));
}

/// The text fallback scores the tokens from where the continuation starts.
#[test]
fn text_prompts_are_cut_where_the_continuation_starts() {
    let server = Server::start(|request| {
        let Some(text) = request.body["prompt"].as_str() else {
            return Reaction::Answer(400, json!({ "error": "ids?" }));
        };
        if text.starts_with("probe") {
            return Reaction::Answer(200, probed(text, -0.5));
        }
        assert_eq!(text, "é 1 2");
        let logprobs = json!({
            "token_logprobs": [null, -1.0, -2.0, -3.0],
            "top_logprobs": [null, { "x": -1.0 }, { "x": -2.0 }, { "x": -3.0 }],
            "text_offset": [0, 1, 3, 5],
        });
        Reaction::Answer(200, json!({ "choices": [{ "logprobs": logprobs }] }))
    });
    let decode: Decode = Box::new(|ids| match ids.len() {
        4 => Ok("probe".to_owned()),
        3 => Ok("é 1 2".to_owned()),
        2 => Ok("é 1".to_owned()),
        _ => Ok("é ".to_owned()),
    });
    let model = connect(ServerOptions { decode: Some(decode), ..options(&server.url) }).unwrap();
    let good = ScoreRequest { context: vec![7, 8], continuation: vec![9] };
    assert_eq!(score(&model, &[good]).unwrap(), [Some(Score { logprob: -2.0, is_greedy: true })]);
    let inside = ScoreRequest { context: vec![7], continuation: vec![8, 9] };
    let message = score(&model, &[inside]).unwrap_err().to_string();
    assert!(message.contains("no token starts where the continuation does"), "{message}");
}

#[test]
fn generation_talks_chat_and_cuts_at_stop_strings() {
    let server = Server::start(|request| match request.path.as_str() {
        path if path.ends_with("/models") => Reaction::Answer(200, models(&["m"])),
        "/v1/chat/completions" if request.body.get("max_tokens").is_some() => {
            let message = "unsupported: use max_completion_tokens";
            Reaction::Answer(400, json!({ "error": { "message": message } }))
        }
        "/v1/chat/completions" => {
            assert!(request.body.get("stop").is_none_or(|stop| stop.as_array().unwrap().len() <= 4));
            let said = request.body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
            let text = format!("to {said}: yes\nand no END more");
            Reaction::Answer(200, json!({ "choices": [{ "message": { "content": text } }] }))
        }
        _ => Reaction::Answer(200, json!({ "choices": [{ "text": format!("{}!", request.body["prompt"]) }] })),
    });
    let request = GenerateRequest {
        context: vec![1, 2],
        text: "whole prompt".to_owned(),
        messages: vec![("system".to_owned(), "s".to_owned()), ("user".to_owned(), "you".to_owned())],
        until: ["a", "b", "c", "d", "\nand"]
            .map(|s| format!("{s}\u{1}"))
            .into_iter()
            .chain(["END".to_owned()])
            .collect(),
        max_tokens: 20,
        temperature: 0.0,
    };
    let both = [request.clone(), GenerateRequest { messages: Vec::new(), until: vec!["\n".to_owned()], ..request }];
    let cancel = CancelFlag::new();
    for (chat, expected) in [(true, ["to you: yes\nand no ", "to whole prompt: yes"]), (false, ["[1,2]!"; 2])] {
        let needs = Needs { score: false, generate: true };
        let model = OpenAiServer::connect(ServerOptions { chat, ..options(&server.url) }, needs, &cancel).unwrap();
        let texts = Mutex::new(vec![String::new(); 2]);
        let progress = Progress { reporter: &Silent, cancel: &cancel };
        model.generate(&both, &|i, generation| texts.lock().unwrap()[i] = generation.text, progress).unwrap();
        assert_eq!(texts.into_inner().unwrap(), expected);
    }
}

#[test]
fn a_cancelled_run_ends_soon_even_while_it_waits() {
    let server = Server::start(|request| match request.path.as_str() {
        path if path.ends_with("/models") => Reaction::Answer(200, models(&["m"])),
        _ if request.body["prompt"][1] == 4 => Reaction::Answer(200, echo(request)),
        _ => Reaction::Header(429, "retry-after", "5"),
    });
    let model = connect(options(&server.url)).unwrap();
    let cancel = CancelFlag::new();
    let started = Instant::now();
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            cancel.cancel();
        });
        model.score(&requests(20), &|_, _| {}, Progress { reporter: &Silent, cancel: &cancel }).unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(started.elapsed() < Duration::from_secs(2));
}

/// The key reaches the server and nothing else, also when the server repeats it. `HOME` stands for
/// the key's variable, since a test can't set one.
#[test]
fn the_key_is_sent_and_never_shown() {
    let key = std::env::var("HOME").unwrap();
    let wanted = key.clone();
    let server = Server::start(move |request| {
        let authorised = request.head.contains(&format!("Bearer {wanted}\r\n"));
        Reaction::Answer(401, json!({ "error": { "message": format!("{authorised}: bad key {wanted}") } }))
    });
    let mut options = options(&server.url);
    options.client.key_variable = Some("HOME".to_owned());
    options.model = String::new();
    let error = connect(options).err().unwrap();
    let message = format!("{error} {error:?}");
    assert!(message.contains("true: bad key <key>") && !message.contains(&key), "{message}");
    let mut options = self::options(&server.url);
    options.client.key_variable = Some("BILLON_NO_SUCH_VARIABLE".to_owned());
    assert!(connect(options).err().unwrap().to_string().contains("BILLON_NO_SUCH_VARIABLE is not set"));
}

#[test]
fn the_judge_asks_again_once_keeps_verdicts_and_counts_the_cost() {
    let server = Server::start(|request| {
        let messages = request.body["messages"].as_array().unwrap();
        let text = messages[1]["content"].as_str().unwrap();
        let again = messages.len() > 2;
        let reply = match text {
            text if text.contains("c-right") => "Correct.",
            text if text.contains("c-wrong") => "incorrect",
            text if text.contains("c-chatty") && again => "unclear",
            text if text.contains("c-late") && again => "correct",
            _ => "I think that it is correct",
        };
        if request.attempt == 0 && text.contains("c-wrong") {
            return Reaction::Reset;
        }
        let usage = json!({ "prompt_tokens": 1000, "completion_tokens": 10 });
        Reaction::Answer(200, json!({ "choices": [{ "message": { "content": reply } }], "usage": usage }))
    });
    let context = Context::new();
    let cache = context.path("judge/verdicts.jsonl");
    let options = || JudgeOptions {
        client: client(&server.url),
        model: "judge".to_owned(),
        concurrency: 3,
        max_tokens: 64,
        seed: 1,
        cache: Some(cache.clone()),
        prices: Some(Prices { prompt: 2.0, completion: 10.0 }),
    };
    let question = |answer: &str| Question {
        question: "What was revenue?".to_owned(),
        reference: "12.5".to_owned(),
        answer: answer.to_owned(),
    };
    let questions: Vec<Question> = ["c-right", "c-wrong", "c-chatty", "c-late", "c-never"].map(question).into();
    let cancel = CancelFlag::new();
    let progress = Progress { reporter: &Silent, cancel: &cancel };
    let first = Judge::new(options()).unwrap().judge(&questions, progress).unwrap();
    // The last question got no verdict at all: it is not scored.
    let verdicts = [Verdict::Correct, Verdict::Incorrect, Verdict::Unclear, Verdict::Correct];
    let verdicts: Vec<Option<Verdict>> = verdicts.into_iter().map(Some).chain([None]).collect();
    assert_eq!(first.verdicts, verdicts);
    assert_eq!((first.usage.requests, first.usage.unparsed, first.usage.cached), (8, 1, 0));
    assert!((first.cost.unwrap() - 8.0 * (1000.0 * 2.0 + 10.0 * 10.0) / 1e6).abs() < 1e-12);
    assert_eq!(accuracy(&first.verdicts), Some(0.5));
    // A line that a killed run left behind costs nothing but itself.
    let mut text = std::fs::read_to_string(&cache).unwrap();
    assert_eq!(text.lines().count(), 4);
    text.push_str("{\"key\": \"half");
    std::fs::write(&cache, text).unwrap();
    let second = Judge::new(options()).unwrap().judge(&questions, progress).unwrap();
    assert_eq!(second.verdicts, verdicts);
    assert_eq!((second.usage.requests, second.usage.cached), (2, 4));
    // Another judge shares nothing.
    let other = JudgeOptions { model: "other".to_owned(), prices: None, ..options() };
    let third = Judge::new(other).unwrap().judge(&questions[..1], progress).unwrap();
    assert_eq!((third.usage.requests, third.cost), (1, None));
}

/// A real server on the shared `SmolLM2` (started by hand, its URL in `BILLON_TEST_OPENAI_URL`): scores
/// are those that `expected.json` has from PyTorch, within what quantised arithmetic costs.
#[test]
fn a_real_server_agrees_with_pytorch() {
    let shared = std::env::var_os("BILLON_SHARED")
        .map_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), std::path::PathBuf::from);
    let expected = shared.join("models/smollm2-135m-instruct/expected.json");
    let (Ok(url), true) = (std::env::var("BILLON_TEST_OPENAI_URL"), expected.is_file()) else {
        eprintln!("SKIPPED: no BILLON_TEST_OPENAI_URL or no {}", expected.display());
        return;
    };
    let expected: Value = serde_json::from_slice(&std::fs::read(expected).unwrap()).unwrap();
    let tokenizer = shared.join("models/smollm2-135m-instruct/tokenizer.json");
    let tokenizer = tokenizers::Tokenizer::from_file(tokenizer).unwrap();
    let mut options = options(&url);
    options.client.timeout = Duration::from_secs(60);
    options.model = String::new();
    options.concurrency = 2;
    options.probe = vec![1, 504, 3575, 282, 4649, 314];
    // llama-cpp-python takes text only, and leaves the begin token out of its answer.
    options.decode = Some(Box::new(move |ids| Ok(tokenizer.decode(ids, false).unwrap())));
    let cancel = CancelFlag::new();
    let progress = Progress { reporter: &Silent, cancel: &cancel };
    let model = OpenAiServer::connect(options, Needs { score: true, generate: true }, &cancel).unwrap();
    let mut requests = Vec::new();
    // Sums of log-probabilities by PyTorch in f32, from the tenth token on.
    let truth = [-19.9319, -48.42837, -34.76236, -99.09374];
    for text in expected["perplexity"].as_array().unwrap() {
        for kind in ["text", "shuffled"] {
            let ids: Vec<u32> = serde_json::from_value(text[format!("{kind}_ids")].clone()).unwrap();
            requests.push(ScoreRequest { context: ids[..9].to_vec(), continuation: ids[9..].to_vec() });
            requests.push(ScoreRequest { context: ids[..9].to_vec(), continuation: ids[9..12].to_vec() });
            requests.push(ScoreRequest { context: ids[..12].to_vec(), continuation: ids[12..].to_vec() });
        }
    }
    let scores: Vec<Score> = score(&model, &requests).unwrap().into_iter().map(Option::unwrap).collect();
    for (three, truth) in scores.chunks(3).zip(truth) {
        let parts = three[1].logprob + three[2].logprob;
        eprintln!("whole {:.5}, in two parts {parts:.5}, PyTorch {truth:.5}", three[0].logprob);
        assert!((three[0].logprob - parts).abs() < 1e-2 && (three[0].logprob - truth).abs() < 1e-2);
    }
    let request = GenerateRequest {
        context: vec![1],
        text: String::new(),
        messages: vec![("user".to_owned(), "What is the capital of France?".to_owned())],
        until: vec!["\n".to_owned()],
        max_tokens: 16,
        temperature: 0.0,
    };
    let said = Mutex::new(String::new());
    model.generate(&[request], &|_, generation| *said.lock().unwrap() = generation.text, progress).unwrap();
    assert_eq!(said.into_inner().unwrap(), "The capital of France is Paris.");
}
