//! TensorBoard event files: `TFRecord` frames around `Event` messages, written by hand.
//!
//! A frame is the length of its data (u64), the masked CRC32C of those eight bytes, the data, and the
//! data's masked CRC32C, all little-endian. The messages are TensorFlow's `event.proto` and
//! `summary.proto`, of which scalars need six fields.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::LogError;
use crate::storage::append_log;

/// Version that the first record of an event file states.
const VERSION: &str = "brain.Event:2";
/// Bytes of a frame around its data.
const FRAME: usize = 16;

/// An append-only file of events.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Opens the file; events after `resume_step` go, or all of them without one, and so does a torn
    /// end. `now` is in seconds since 1970.
    pub(super) fn open(path: &Path, resume_step: Option<u64>, now: f64) -> Result<Self, LogError> {
        let (mut file, bytes) = append_log::open_own(path).map_err(LogError::new("open", path))?;
        let kept: usize = resume_step.map_or(0, |last| {
            let stays = |record: &&[u8]| step(record).is_some_and(|step| step <= last);
            records(&bytes).take_while(stays).map(|record| record.len() + FRAME).sum()
        });
        append_log::cut(&mut file, kept as u64).map_err(LogError::new("cut", path))?;
        let mut events = Self { path: path.to_path_buf(), file };
        if kept == 0 {
            events.write(&version(now))?;
        }
        Ok(events)
    }

    /// Appends the values of a step.
    pub(super) fn append(&mut self, step: u64, now: f64, values: &[(String, f64)]) -> Result<(), LogError> {
        self.write(&scalars(step, now, values))
    }

    fn write(&mut self, record: &[u8]) -> Result<(), LogError> {
        self.file.write_all(&frame(record)).map_err(LogError::new("write", &self.path))
    }

    pub(super) fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(LogError::new("sync", &self.path))
    }
}

/// The group that TensorBoard shows a value in, chosen as transformers does.
fn tag(name: &str) -> String {
    match name.strip_prefix("eval_") {
        Some(rest) => format!("eval/{rest}"),
        None => format!("train/{name}"),
    }
}

/// `Event { wall_time = 1, file_version = 3 }`.
fn version(now: f64) -> Vec<u8> {
    let mut event = wall_time(now);
    bytes_field(&mut event, 3, VERSION.as_bytes());
    event
}

/// `Event { wall_time = 1, step = 2, summary = 5 }`, a `Summary { repeated value = 1 }` of
/// `Value { tag = 1, simple_value = 2 }`.
fn scalars(step: u64, now: f64, values: &[(String, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (name, value) in values {
        let mut scalar = Vec::new();
        bytes_field(&mut scalar, 1, tag(name).as_bytes());
        scalar.push(key(2, FIXED32));
        scalar.extend((*value as f32).to_le_bytes());
        bytes_field(&mut summary, 1, &scalar);
    }
    let mut event = wall_time(now);
    event.push(key(2, VARINT));
    varint(&mut event, step);
    bytes_field(&mut event, 5, &summary);
    event
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED32: u8 = 5;

/// A field's number and wire type.
const fn key(field: u8, wire: u8) -> u8 {
    (field << 3) | wire
}

fn wall_time(now: f64) -> Vec<u8> {
    let mut event = vec![key(1, FIXED64)];
    event.extend(now.to_le_bytes());
    event
}

fn bytes_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(key(field, LENGTH));
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The step of an event as this file writes it; the version's is 0.
fn step(record: &[u8]) -> Option<u64> {
    let rest = record.strip_prefix(&[key(1, FIXED64)])?.get(8..)?;
    let Some(rest) = rest.strip_prefix(&[key(2, VARINT)]) else { return Some(0) };
    let mut step = 0u64;
    for (index, byte) in rest.iter().take(10).enumerate() {
        step |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(step);
        }
    }
    None
}

fn frame(record: &[u8]) -> Vec<u8> {
    let length = (record.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(record.len() + FRAME);
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(record);
    out.extend(masked_crc(record).to_le_bytes());
    out
}

/// The data of whole and sound frames, up to the first that is neither.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (check, rest) = rest.split_first_chunk::<4>()?;
        let count = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (record, rest) = rest.split_at_checked(count)?;
        let (record_check, rest) = rest.split_first_chunk::<4>()?;
        let sound =
            u32::from_le_bytes(*check) == masked_crc(length) && u32::from_le_bytes(*record_check) == masked_crc(record);
        bytes = rest;
        sound.then_some(record)
    })
}

/// The mask of `TFRecord`s: a checksum of data that holds checksums would be weak.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), reflected, bit by bit: some hundred bytes a log line need no table.
fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, byte)
}

/// The steps of a file's events, for tests.
#[cfg(test)]
pub(super) fn steps(bytes: &[u8]) -> Vec<u64> {
    records(bytes).map(|record| step(record).unwrap()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the algorithm, and a vector of RFC 3720, B.4 (32 zeros).
    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    /// Written by TensorBoard 2.21.0's `RecordWriter` from its own `event_pb2.Event`s with these values.
    const GOLDEN: &str = "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9\
        36000000000000004f578cef0900006040fc54d94110ac022a280a110a0a747261696e2f6c6f737315\
        1872313f0a130a0c6576616c2f6670622f6163631500000000bc2a76eb";

    #[test]
    fn events_are_tensorboards_bytes() {
        let mut bytes = frame(&version(1_700_000_000.25));
        let values = [("loss".to_owned(), std::f64::consts::LN_2), ("eval_fpb/acc".to_owned(), 0.0)];
        bytes.extend(frame(&scalars(300, 1_700_000_001.5, &values)));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        assert_eq!(steps(&bytes), [0, 300]);
        for cut in 0..bytes.len() {
            assert!(steps(&bytes[..cut]).len() < 2, "a torn frame is none");
        }
    }
}
