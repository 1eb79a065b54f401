//! Answers remembered between runs, so that an interrupted evaluation goes on where it stopped.
//!
//! One append-only file of JSON lines per model identity. A line is written whole once its answer
//! is final; a line cut off by a crash is ignored and its request asked again. So is one whose
//! checksum does not match: a bit that flipped on disk would be another score. The file's name is
//! the identity's hash, so two models can never share an entry.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::identity::ModelIdentity;
use super::language_model::{Done, GenerateRequest, Generation, LanguageModel, Score, ScoreRequest};
use crate::error::{Diagnose, ErrorKind, Result};
use crate::event::{Event, Progress};
use crate::storage::append_log;
use crate::storage::hash::{checksum, sha256_bytes};
use crate::storage::stated;

/// The remembered answers of one model.
#[derive(Debug)]
pub(crate) struct ResponseCache {
    path: PathBuf,
    known: BTreeMap<String, Answer>,
    damaged: usize,
    later: usize,
    file: Mutex<File>,
    failure: Mutex<Option<io::Error>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// The log-probability as its bits: decimal text would have to survive two parsers.
    Score(u64, bool),
    Text(String),
}

/// Layout of a line. 1 did not say so, and its checksum was of Rust's debugging text of the answer.
const FORMAT: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Line {
    /// Layout.
    #[serde(default = "unstated")]
    version: u32,
    key: String,
    #[serde(flatten)]
    answer: Answer,
    /// Checksum of the line without it.
    sum: String,
}

fn unstated() -> u32 {
    1
}

/// A line of another layout says at least this.
#[derive(Deserialize)]
struct Stated {
    version: u32,
}

/// What a line holds.
#[derive(Debug, PartialEq)]
enum Found {
    Answer(String, Answer),
    /// A later billon wrote it.
    Later,
    Damaged,
}

impl Line {
    fn new(key: String, answer: Answer) -> Self {
        let sum = Self::checksum(FORMAT, &key, &answer);
        Self { version: FORMAT, key, answer, sum }
    }

    fn checksum(version: u32, key: &str, answer: &Answer) -> String {
        match (version, answer) {
            (1, answer) => checksum(&format!("{key} {answer:?}")),
            (_, Answer::Score(bits, greedy)) => checksum(&format!("{version} {key} score {bits} {greedy}")),
            (_, Answer::Text(text)) => checksum(&format!("{version} {key} text {text}")),
        }
    }

    fn read(line: &[u8]) -> Found {
        match serde_json::from_slice::<Stated>(line) {
            Ok(Stated { version }) if version > FORMAT => return Found::Later,
            _ => {}
        }
        match serde_json::from_slice::<Self>(line) {
            Ok(line) if line.sum == Self::checksum(line.version, &line.key, &line.answer) => {
                Found::Answer(line.key, line.answer)
            }
            _ => Found::Damaged,
        }
    }
}

/// The cache can't be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the response cache {}", path.display())]
pub(crate) struct CacheError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Diagnose for CacheError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Io
    }

    fn hints(&self) -> Vec<String> {
        vec!["choose another place with `--cache DIR`, or do without with `--no-cache`".to_owned()]
    }
}

impl ResponseCache {
    /// Opens (or starts) the answers of a model in `dir`.
    ///
    /// # Errors
    /// [`CacheError`] when the file can't be read or appended to.
    pub(crate) fn open(dir: &Path, identity: &ModelIdentity) -> Result<Self, CacheError> {
        let path = dir.join(format!("{}.jsonl", identity.digest()));
        let failed = |what, source| CacheError { what, path: path.clone(), source };
        let (mut file, bytes) = append_log::open_shared(&path).map_err(|source| failed("open", source))?;
        let mut known = BTreeMap::new();
        let (mut damaged, mut later) = (0, 0);
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match Line::read(line) {
                Found::Answer(key, answer) => _ = known.insert(key, answer),
                Found::Later => later += 1,
                Found::Damaged => damaged += usize::from(is_whole(line)),
            }
        }
        if !bytes.is_empty() && bytes.last() != Some(&b'\n') {
            // The last run was cut off in the middle of a line: keep the next one apart from it.
            file.write_all(b"\n").map_err(|source| failed("write", source))?;
        }
        Ok(Self { path, known, damaged, later, file: Mutex::new(file), failure: Mutex::new(None) })
    }

    /// Warning about records that could not be used, given once.
    #[must_use]
    pub(crate) fn warning(&self) -> Option<String> {
        let unusable = self.damaged + self.later;
        let records = if unusable == 1 { "1 record".to_owned() } else { format!("{unusable} records") };
        let reason = match self.later {
            0 => "damaged, or of an older version".to_owned(),
            later if later == unusable => "of a later version of billon".to_owned(),
            later => format!("damaged, or of an older version; {later} of a later version of billon"),
        };
        (unusable > 0).then(|| {
            let path = self.path.display();
            format!("{records} of the response cache {path} cannot be used ({reason}); asked again")
        })
    }

    /// Remembers an answer. Trouble is kept for [`ResponseCache::check`].
    fn remember(&self, key: String, answer: Answer) {
        let mut text = serde_json::to_string(&Line::new(key, answer)).expect("an answer has nothing that JSON lacks");
        text.push('\n');
        // One write per line: concurrent runs of one model append whole lines.
        let written = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes());
        if let Err(error) = written {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    fn check(&self) -> Result<(), CacheError> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(source) => Err(CacheError { what: "write", path: self.path.clone(), source }),
            None => Ok(()),
        }
    }
}

/// Whether a line was written whole, with a checksum: a crash cuts lines off, and older versions wrote
/// none, which is no damage.
pub(super) fn is_whole(line: &[u8]) -> bool {
    line.ends_with(b"}") && line.windows(SUM.len()).any(|part| part == SUM)
}

const SUM: &[u8] = b"\"sum\":";

fn tokens(bytes: &mut Vec<u8>, ids: &[u32]) {
    bytes.extend((ids.len() as u64).to_le_bytes());
    bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
}

fn score_key(request: &ScoreRequest) -> String {
    let mut bytes = b"score".to_vec();
    tokens(&mut bytes, &request.context);
    tokens(&mut bytes, &request.continuation);
    sha256_bytes(&bytes)
}

/// Keys of requests for texts. Drawn texts depend on the seed too, and equal requests get texts of
/// their own.
fn generate_keys(requests: &[GenerateRequest], seed: u64) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let key = |request: &GenerateRequest| {
        let key = generate_key(request);
        if request.temperature == 0.0 {
            return key;
        }
        let repeat = seen.entry(key.clone()).or_default();
        *repeat += 1;
        sha256_bytes(format!("{key} {seed} {repeat}").as_bytes())
    };
    requests.iter().map(key).collect()
}

fn generate_key(request: &GenerateRequest) -> String {
    let mut bytes = b"generate".to_vec();
    tokens(&mut bytes, &request.context);
    let (until, messages) = (stated::texts(&request.until), stated::pairs(&request.messages));
    bytes.extend(format!("{until} {} {} {messages}", request.max_tokens, request.temperature).bytes());
    sha256_bytes(&bytes)
}

/// A model whose final answers are remembered.
pub(crate) struct CachedModel<'a> {
    /// Asked for what is not known.
    pub model: &'a dyn LanguageModel,
    /// Cache of answers; without one, this only counts.
    pub cache: Option<&'a ResponseCache>,
    /// Seed of drawn texts.
    pub seed: u64,
}

impl CachedModel<'_> {
    /// Answers what is known, asks the model for the rest, remembers its answers.
    fn answer<R, T>(
        &self,
        (requests, keys): (&[R], &[String]),
        done: Done<'_, T>,
        progress: Progress<'_>,
        known: impl Fn(&Answer) -> Option<T>,
        remember: impl Fn(&T) -> Answer + Sync,
        ask: impl Fn(&[R], Done<'_, T>) -> Result<()>,
    ) -> Result<()>
    where
        R: Clone + Sync,
    {
        let mut open = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            match self.cache.and_then(|cache| known(cache.known.get(key)?)) {
                Some(answer) => done(index, answer),
                None => open.push(index),
            }
        }
        progress.event(Event::ScoringStarted { requests: open.len(), cached: requests.len() - open.len() });
        let asked: Vec<R> = open.iter().map(|&index| requests[index].clone()).collect();
        let result = ask(&asked, &|index, answer| {
            if let Some(cache) = self.cache {
                cache.remember(keys[open[index]].clone(), remember(&answer));
            }
            done(open[index], answer);
        });
        if let Some(cache) = self.cache { result.and(cache.check().map_err(Into::into)) } else { result }
    }
}

impl LanguageModel for CachedModel<'_> {
    fn max_length(&self) -> usize {
        self.model.max_length()
    }

    fn score(&self, requests: &[ScoreRequest], done: Done<'_, Score>, progress: Progress<'_>) -> Result<()> {
        let keys: Vec<String> = requests.iter().map(score_key).collect();
        self.answer(
            (requests, &keys),
            done,
            progress,
            |answer| match answer {
                Answer::Score(bits, is_greedy) => Some(Score { logprob: f64::from_bits(*bits), is_greedy: *is_greedy }),
                Answer::Text(_) => None,
            },
            |score| Answer::Score(score.logprob.to_bits(), score.is_greedy),
            |open, done| self.model.score(open, done, progress),
        )
    }

    fn generate(&self, requests: &[GenerateRequest], done: Done<'_, Generation>, progress: Progress<'_>) -> Result<()> {
        let keys = generate_keys(requests, self.seed);
        self.answer(
            (requests, &keys),
            done,
            progress,
            |answer| match answer {
                Answer::Text(text) => Some(Generation { text: text.clone() }),
                Answer::Score(..) => None,
            },
            |answer| Answer::Text(answer.text.clone()),
            |open, done| self.model.generate(open, done, progress),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::event::{CancelFlag, Silent};

    /// Scores a request by its tokens' sum; fails after `most` answers.
    struct Counter {
        asked: AtomicUsize,
        most: usize,
    }

    impl LanguageModel for Counter {
        fn max_length(&self) -> usize {
            64
        }

        fn score(&self, requests: &[ScoreRequest], done: Done<'_, Score>, _: Progress<'_>) -> Result<()> {
            for (index, request) in requests.iter().enumerate() {
                if self.asked.fetch_add(1, Ordering::Relaxed) >= self.most {
                    return Err(crate::error::Cancelled.into());
                }
                let sum: u32 = request.context.iter().chain(&request.continuation).sum();
                done(index, Score { logprob: -f64::from(sum) / 3.0, is_greedy: sum.is_multiple_of(2) });
            }
            Ok(())
        }

        fn generate(&self, _: &[GenerateRequest], _: Done<'_, Generation>, _: Progress<'_>) -> Result<()> {
            Ok(())
        }
    }

    fn identity(weights: &str) -> ModelIdentity {
        ModelIdentity {
            weights: vec![("model.safetensors".into(), weights.into())],
            adapters: Vec::new(),
            tokenizer: None,
            chat_template: None,
            precision: "f32".into(),
        }
    }

    fn run(dir: &Path, weights: &str, most: usize) -> (usize, Vec<Option<Score>>, bool) {
        let requests: Vec<ScoreRequest> =
            (1..=10).map(|i| ScoreRequest { context: vec![i], continuation: vec![i, 2 * i] }).collect();
        let model = Counter { asked: AtomicUsize::new(0), most };
        let cache = ResponseCache::open(dir, &identity(weights)).unwrap();
        let cached = CachedModel { model: &model, cache: Some(&cache), seed: 0 };
        let scores = Mutex::new(vec![None; requests.len()]);
        let cancel = CancelFlag::new();
        let progress = Progress { reporter: &Silent, cancel: &cancel };
        let result = cached.score(&requests, &|i, score| scores.lock().unwrap()[i] = Some(score), progress);
        (model.asked.into_inner().min(most), scores.into_inner().unwrap(), result.is_ok())
    }

    #[test]
    fn an_interrupted_run_goes_on_and_models_never_share() {
        let dir = tempfile::tempdir().unwrap();
        let (asked, scores, whole) = run(dir.path(), "a", 4);
        assert!(!whole);
        assert_eq!((asked, scores.iter().flatten().count()), (4, 4));
        // The crash also left half a line behind.
        let file = dir.path().join(format!("{}.jsonl", identity("a").digest()));
        OpenOptions::new().append(true).open(file).unwrap().write_all(b"{\"key\":\"half").unwrap();
        let (asked, scores, whole) = run(dir.path(), "a", 100);
        assert!(whole);
        assert_eq!((asked, scores.iter().flatten().count()), (6, 10));
        let (asked, again, _) = run(dir.path(), "a", 100);
        assert_eq!(asked, 0);
        assert_eq!(scores, again, "remembered to the last bit");
        let (asked, _, _) = run(dir.path(), "b", 100);
        assert_eq!(asked, 10, "another model's answers are not its own");
    }

    /// Every bit of a record, flipped: the answer is asked again, never another one.
    #[test]
    fn a_flipped_bit_is_asked_again_and_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let (_, scores, _) = run(dir.path(), "a", 100);
        let file = dir.path().join(format!("{}.jsonl", identity("a").digest()));
        let bytes = std::fs::read(&file).unwrap();
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        for place in 0..end {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << (place % 7);
            OpenOptions::new().write(true).truncate(true).open(&file).unwrap().write_all(&damaged).unwrap();
            let cache = ResponseCache::open(dir.path(), &identity("a")).unwrap();
            assert!(cache.known.len() == 9 || damaged[place] == b'\n', "byte {place}: {}", cache.known.len());
            // Without its name a checksum looks like a record of an older version.
            if is_whole(&damaged[..end]) && damaged[place] != b'\n' {
                assert!(cache.warning().unwrap().starts_with("1 record of the response cache"), "byte {place}");
            }
        }
        let (asked, again, whole) = run(dir.path(), "a", 100);
        assert!(whole && asked == 1, "{asked}");
        assert_eq!(again, scores);
        // The answer that was asked again is known from now on.
        assert_eq!(run(dir.path(), "a", 100).0, 0);
    }

    #[test]
    fn lines_of_other_versions_are_read_or_named() {
        // Written before lines said their version: the checksums are of Rust's debugging text.
        for (answer, text) in [
            (Answer::Score(7, true), r#""score":[7,true]"#),
            (Answer::Text("a \"b\"\n".to_owned()), r#""text":"a \"b\"\n""#),
        ] {
            let line = format!(r#"{{"key":"k",{text},"sum":"{}"}}"#, checksum(&format!("k {answer:?}")));
            assert_eq!(Line::read(line.as_bytes()), Found::Answer("k".to_owned(), answer.clone()), "{line}");
            let ours = serde_json::to_string(&Line::new("k".to_owned(), answer.clone())).unwrap();
            assert_eq!(Line::read(ours.as_bytes()), Found::Answer("k".to_owned(), answer));
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(format!("{}.jsonl", identity("a").digest()));
        std::fs::write(&file, "{\"version\":3,\"score\":{\"bits\":1},\"sum\":\"x\"}\n").unwrap();
        let warning = ResponseCache::open(dir.path(), &identity("a")).unwrap().warning().unwrap();
        assert!(warning.ends_with("cannot be used (of a later version of billon); asked again"), "{warning}");
    }

    #[test]
    fn drawn_texts_are_remembered_by_seed_and_repeat() {
        let request = |temperature| GenerateRequest {
            context: vec![1],
            text: String::new(),
            messages: Vec::new(),
            until: Vec::new(),
            max_tokens: 3,
            temperature,
        };
        let (drawn, greedy) = ([request(0.7), request(0.7)], [request(0.0), request(0.0)]);
        let keys = generate_keys(&drawn, 1);
        assert_ne!(keys[0], keys[1], "equal prompts draw texts of their own");
        assert_ne!(keys, generate_keys(&drawn, 2));
        assert_eq!(keys, generate_keys(&drawn, 1));
        assert_eq!(
            generate_keys(&greedy, 1),
            [generate_keys(&greedy, 2)[0].clone(), generate_keys(&greedy, 2)[0].clone()]
        );
    }
}
