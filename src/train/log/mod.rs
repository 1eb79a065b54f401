//! Training log, for people and for tools that read transformers' files.
//!
//! [`TrainLog`] appends every [`LogLine`] to `trainer_log.jsonl` and to a TensorBoard event file below
//! `runs/`, and keeps the lines for [`TrainerState`], which a checkpoint holds as
//! `trainer_state.json`. Both files survive being cut off anywhere; a resumed run first takes back
//! what was logged after its checkpoint, so that no step stands in them twice.

mod jsonl;
mod line;
mod state;
mod tensorboard;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub(crate) use line::LogLine;
pub(crate) use state::TrainerState;

use crate::error::{Diagnose, ErrorKind};
use jsonl::LineFile;
use tensorboard::EventFile;

/// The lines' file in a run's directory.
pub(crate) const LOG_FILE: &str = "trainer_log.jsonl";
/// The event file in a run's directory; TensorBoard finds it by the middle of its name.
pub(crate) const EVENT_FILE: &str = "runs/events.out.tfevents.0.billon";

/// A log can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the training log {}", path.display())]
pub(crate) struct LogError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl LogError {
    fn new(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self { what, path, source }
    }
}

impl Diagnose for LogError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Io
    }

    fn hints(&self) -> Vec<String> {
        vec!["free space or fix the directory's permissions, then go on with `--resume`".to_owned()]
    }
}

/// The logs of one run.
#[derive(Debug)]
pub(crate) struct TrainLog {
    lines: LineFile,
    events: EventFile,
    history: Vec<Map<String, Value>>,
}

impl TrainLog {
    /// Opens the logs in a run's directory, which is made if need be. Without `resumed` they start anew; with the step
    /// of a checkpoint and the lines that it holds, these are what stays.
    ///
    /// # Errors
    /// [`LogError`] when a file can't be read or written.
    pub(crate) fn open(dir: &Path, resumed: Option<(u64, Vec<Map<String, Value>>)>) -> Result<Self, LogError> {
        let (step, history) = resumed.map_or((None, Vec::new()), |(step, history)| (Some(step), history));
        let lines = LineFile::open(&dir.join(LOG_FILE), &history)?;
        let events = EventFile::open(&dir.join(EVENT_FILE), step, now())?;
        Ok(Self { lines, events, history })
    }

    /// Appends a line to both files.
    ///
    /// # Errors
    /// [`LogError`] when a file can't be written.
    pub(crate) fn line(&mut self, line: &LogLine) -> Result<(), LogError> {
        let json = line.to_json();
        self.lines.append(&json)?;
        self.events.append(line.step, now(), &line.named())?;
        self.history.push(json);
        Ok(())
    }

    /// Waits until everything logged is on stable storage, as before a checkpoint that counts on it.
    ///
    /// # Errors
    /// [`LogError`] when the system can't tell.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        self.lines.sync()?;
        self.events.sync()
    }

    /// All lines so far, those of before a resumption included: `log_history` of [`TrainerState`].
    #[must_use]
    pub(crate) fn history(&self) -> &[Map<String, Value>] {
        &self.history
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    crate::clock::seconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> LogLine {
        LogLine { step, epoch: step as f64 / 8.0, loss: Some(1.0 / step as f64), ..LogLine::default() }
    }

    /// A run that is cut off and resumed leaves the same lines as one that is not.
    #[test]
    fn a_resumed_log_has_every_step_once() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        let write = |resume: Option<u64>, steps: std::ops::RangeInclusive<u64>| {
            let kept = resume.map(|step| (step, (1..=step).map(|step| line(step).to_json()).collect()));
            let mut log = TrainLog::open(dir.path(), kept).unwrap();
            for step in steps {
                log.line(&line(step)).unwrap();
            }
            log.sync().unwrap();
            assert_eq!(log.history().len() as u64, log.history().last().unwrap()["step"].as_u64().unwrap());
        };
        write(None, 1..=9);
        let lines = read(LOG_FILE);
        let records = tensorboard::steps(&read(EVENT_FILE));
        assert_eq!(records, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        write(None, 1..=7);
        // The end of each file is torn, as after a crash.
        for name in [LOG_FILE, EVENT_FILE] {
            let bytes = read(name);
            std::fs::write(dir.path().join(name), &bytes[..bytes.len() - 5]).unwrap();
        }
        write(Some(4), 5..=9);
        assert_eq!(read(LOG_FILE), lines);
        assert_eq!(tensorboard::steps(&read(EVENT_FILE)), records);
        write(Some(9), 10..=10);
        assert_eq!(read(LOG_FILE)[..lines.len()], lines);
        // A flipped bit: the checkpoint knows what stood there.
        let mut damaged = read(LOG_FILE);
        damaged[20] ^= 1;
        std::fs::write(dir.path().join(LOG_FILE), damaged).unwrap();
        write(Some(9), 10..=10);
        assert_eq!(read(LOG_FILE)[..lines.len()], lines);
    }
}
