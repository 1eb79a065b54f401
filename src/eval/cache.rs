//! Answers remembered between runs, so that an interrupted evaluation goes on where it stopped.
//!
//! One append-only file of JSON lines per model identity. A line is written whole once its answer
//! is final; a line cut off by a crash is ignored and its request asked again. The file's name is
//! the identity's hash, so two models can never share an entry.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::identity::ModelIdentity;
use super::language_model::{Done, GenerateRequest, Generation, LanguageModel, Score, ScoreRequest};
use crate::checkpoint::hash::sha256_bytes;
use crate::error::{Diagnose, ErrorKind, Result};
use crate::event::{Event, Progress};

/// The remembered answers of one model.
#[derive(Debug)]
pub struct ResponseCache {
    path: PathBuf,
    known: BTreeMap<String, Answer>,
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

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(flatten)]
    answer: Answer,
}

/// The cache can't be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the response cache {}", path.display())]
pub struct CacheError {
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
    pub fn open(dir: &Path, identity: &ModelIdentity) -> Result<Self, CacheError> {
        let path = dir.join(format!("{}.jsonl", identity.digest()));
        let failed = |what, source| CacheError { what, path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(|source| failed("create", source))?;
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(|source| failed("open", source))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| failed("read", source))?;
        let known = bytes
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
            .map(|line| (line.key, line.answer))
            .collect();
        if !bytes.is_empty() && bytes.last() != Some(&b'\n') {
            // The last run was cut off in the middle of a line: keep the next one apart from it.
            file.write_all(b"\n").map_err(|source| failed("write", source))?;
        }
        Ok(Self { path, known, file: Mutex::new(file), failure: Mutex::new(None) })
    }

    /// Number of answers known when the cache was opened.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing was known when the cache was opened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Remembers an answer. Trouble is kept for [`ResponseCache::check`].
    fn remember(&self, key: String, answer: Answer) {
        let Ok(mut text) = serde_json::to_string(&Line { key, answer }) else { return };
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

fn generate_key(request: &GenerateRequest) -> String {
    let mut bytes = b"generate".to_vec();
    tokens(&mut bytes, &request.context);
    bytes.extend(
        format!("{:?} {} {} {:?}", request.until, request.max_tokens, request.temperature, request.messages).bytes(),
    );
    sha256_bytes(&bytes)
}

/// A model whose final answers are remembered.
pub struct CachedModel<'a> {
    /// Asked for what is not known.
    pub model: &'a dyn LanguageModel,
    /// Where answers are kept; without one, this only counts.
    pub cache: Option<&'a ResponseCache>,
}

impl CachedModel<'_> {
    /// Answers what is known, asks the model for the rest, remembers its answers.
    fn answer<R, T>(
        &self,
        requests: &[R],
        done: Done<'_, T>,
        progress: Progress<'_>,
        known: impl Fn(&ResponseCache, &R) -> Option<T>,
        remember: impl Fn(&ResponseCache, &R, &T) + Sync,
        ask: impl Fn(&[R], Done<'_, T>) -> Result<()>,
    ) -> Result<()>
    where
        R: Clone + Sync,
    {
        let mut open = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            match self.cache.and_then(|cache| known(cache, request)) {
                Some(answer) => done(index, answer),
                None => open.push(index),
            }
        }
        progress.event(Event::ScoringStarted { requests: open.len(), cached: requests.len() - open.len() });
        let asked: Vec<R> = open.iter().map(|&index| requests[index].clone()).collect();
        let result = ask(&asked, &|index, answer| {
            if let Some(cache) = self.cache {
                remember(cache, &asked[index], &answer);
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
        self.answer(
            requests,
            done,
            progress,
            |cache, request| match cache.known.get(&score_key(request)) {
                Some(Answer::Score(bits, is_greedy)) => {
                    Some(Score { logprob: f64::from_bits(*bits), is_greedy: *is_greedy })
                }
                _ => None,
            },
            |cache, request, score| {
                cache.remember(score_key(request), Answer::Score(score.logprob.to_bits(), score.is_greedy));
            },
            |open, done| self.model.score(open, done, progress),
        )
    }

    fn generate(&self, requests: &[GenerateRequest], done: Done<'_, Generation>, progress: Progress<'_>) -> Result<()> {
        self.answer(
            requests,
            done,
            progress,
            |cache, request| match cache.known.get(&generate_key(request)) {
                Some(Answer::Text(text)) => Some(Generation { text: text.clone() }),
                _ => None,
            },
            |cache, request, answer| cache.remember(generate_key(request), Answer::Text(answer.text.clone())),
            |open, done| self.model.generate(open, done, progress),
        )
    }
}

#[cfg(test)]
mod tests {
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
        let cached = CachedModel { model: &model, cache: Some(&cache) };
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
}
