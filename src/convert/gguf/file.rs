//! A GGUF model in one or more mapped files.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::GgufError;
use super::ggml_type::GgmlType;
use super::header::{GgufHeader, TensorInfo};
use super::metadata::Metadata;
use crate::storage::mapped::MappedFile;
use crate::storage::unchanged::InputChanged;

/// One tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GgufTensor {
    pub info: TensorInfo,
    /// Index of the file (which may be of several pieces) it is in.
    file: usize,
}

/// An opened model.
#[derive(Debug)]
pub(crate) struct GgufFile {
    files: Vec<Pieces>,
    metadata: Metadata,
    tensors: Vec<GgufTensor>,
}

impl GgufFile {
    /// Opens a model. One path is a whole file, or the first of llama.cpp's `-00001-of-0000N.gguf`,
    /// whose others are found beside it; several are all pieces in order, either llama.cpp's or a
    /// plain byte split.
    ///
    /// # Errors
    /// A [`GgufError`] naming file and tensor or key.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self, GgufError> {
        let Some(first) = paths.first() else { return Err(GgufError::NotGguf { file: PathBuf::new() }) };
        let siblings = if paths.len() == 1 { split_siblings(first) } else { Vec::new() };
        let paths = if siblings.is_empty() { paths } else { siblings.as_slice() };
        let maps = paths
            .iter()
            .map(|path| MappedFile::open(path).map_err(|source| GgufError::Io { file: path.clone(), source }))
            .collect::<Result<Vec<_>, _>>()?;
        // Pieces of a byte split carry no magic number of their own.
        let whole = maps.iter().all(|map| map.bytes().starts_with(b"GGUF"));
        let files: Vec<Pieces> =
            if whole { maps.into_iter().map(|map| Pieces::new(vec![map])).collect() } else { vec![Pieces::new(maps)] };
        Self::read(first, files)
    }

    /// Whether the files are what they were when they were opened.
    ///
    /// # Errors
    /// [`InputChanged`] naming the first one that is not.
    pub(crate) fn unchanged(&self) -> Result<(), InputChanged> {
        self.files.iter().try_for_each(Pieces::unchanged)
    }

    fn read(first: &Path, files: Vec<Pieces>) -> Result<Self, GgufError> {
        let mut metadata: Option<Metadata> = None;
        let mut tensors: Vec<GgufTensor> = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let header = file.header()?;
            let count = header.metadata.count("split.count")?.unwrap_or(1);
            let number = header.metadata.count("split.no")?.unwrap_or(0);
            if count.max(1) != files.len() as u64 || (count > 1 && number != index as u64) {
                return Err(GgufError::SplitCount {
                    file: file.path().into(),
                    found: number.saturating_add(1),
                    count,
                    given: files.len(),
                });
            }
            for info in header.tensors {
                if index > 0 && tensors.iter().any(|tensor| tensor.info.name == info.name) {
                    return Err(GgufError::DuplicateTensor { file: file.path().into(), tensor: info.name });
                }
                tensors.push(GgufTensor { info, file: index });
            }
            if metadata.is_none() {
                metadata = Some(header.metadata);
            }
        }
        let metadata = metadata.expect("a model has a first file");
        if let Some(expected) = metadata.count("split.tensors.count")?
            && files.len() > 1
            && expected != tensors.len() as u64
        {
            return Err(GgufError::SplitTensors { file: first.into(), found: tensors.len() as u64, expected });
        }
        Ok(Self { files, metadata, tensors })
    }

    /// The metadata of the (first) file.
    #[must_use]
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the order of the files.
    #[must_use]
    pub(crate) fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// The tensor of this name.
    #[must_use]
    pub(crate) fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.tensors.iter().find(|tensor| tensor.info.name == name)
    }

    /// Every file that was opened.
    #[must_use]
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().flat_map(|file| file.maps.iter().map(|map| map.path().to_owned())).collect()
    }

    /// The stored bytes of the rows `rows` of a tensor.
    #[must_use]
    pub(crate) fn rows(&self, tensor: &GgufTensor, rows: Range<u64>) -> Cow<'_, [u8]> {
        let row = row_bytes(&tensor.info);
        let start = tensor.info.start + rows.start.saturating_mul(row);
        let end = (tensor.info.start + rows.end.saturating_mul(row)).min(tensor.info.end);
        self.files.get(tensor.file).map_or(Cow::Borrowed(&[]), |file| file.bytes(start..end))
    }

    /// Gives pages back that held a tensor.
    pub(crate) fn release(&self, tensor: &GgufTensor) {
        if let Some(file) = self.files.get(tensor.file) {
            file.release(tensor.info.start..tensor.info.end);
        }
    }
}

/// Stored bytes of a row.
#[must_use]
pub(crate) fn row_bytes(info: &TensorInfo) -> u64 {
    let kind: GgmlType = info.ggml_type;
    info.columns() / kind.block_elements() * kind.block_bytes()
}

/// All files of a llama.cpp split, when `path` is its first one and there are more.
fn split_siblings(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let Some((stem, count)) = name.strip_suffix(".gguf").and_then(|stem| stem.rsplit_once("-of-")) else {
        return Vec::new();
    };
    let Some(stem) = stem.strip_suffix("-00001") else { return Vec::new() };
    match count.parse::<u32>() {
        Ok(number @ 2..=9999) if count.len() == 5 => {
            (1..=number).map(|i| path.with_file_name(format!("{stem}-{i:05}-of-{count}.gguf"))).collect()
        }
        _ => Vec::new(),
    }
}

/// One logical file, cut into pieces anywhere.
#[derive(Debug)]
struct Pieces {
    maps: Vec<MappedFile>,
}

impl Pieces {
    fn unchanged(&self) -> Result<(), InputChanged> {
        self.maps.iter().try_for_each(MappedFile::unchanged)
    }

    fn new(maps: Vec<MappedFile>) -> Self {
        Self { maps }
    }

    fn path(&self) -> &Path {
        self.maps.first().map_or(Path::new(""), MappedFile::path)
    }

    fn header(&self) -> Result<GgufHeader, GgufError> {
        let length = self.maps.iter().map(MappedFile::len).sum();
        let mut head: Cow<'_, [u8]> = Cow::Borrowed(self.maps.first().map_or(&[], MappedFile::bytes));
        let mut rest = self.maps.iter().skip(1);
        loop {
            match (GgufHeader::parse(self.path(), &head, length), rest.next()) {
                // The header may go on in the next piece.
                (Err(GgufError::Truncated { .. } | GgufError::TooMany { .. }), Some(next)) => {
                    head.to_mut().extend_from_slice(next.bytes());
                }
                (result, _) => return result,
            }
        }
    }

    /// The parts of a range, one for each piece it touches, as ranges inside the pieces.
    fn parts(&self, range: Range<u64>) -> impl Iterator<Item = (&MappedFile, Range<u64>)> {
        let mut begin = 0_u64;
        self.maps.iter().filter_map(move |map| {
            let (start, end) = (begin, begin + map.len());
            begin = end;
            let (from, to) = (range.start.max(start), range.end.min(end));
            (from < to).then(|| (map, from - start..to - start))
        })
    }

    fn bytes(&self, range: Range<u64>) -> Cow<'_, [u8]> {
        let mut bytes: Cow<'_, [u8]> = Cow::Borrowed(&[]);
        for (map, part) in self.parts(range) {
            let slice = map.slice(part);
            if bytes.is_empty() {
                bytes = Cow::Borrowed(slice);
            } else {
                bytes.to_mut().extend_from_slice(slice);
            }
        }
        bytes
    }

    fn release(&self, range: Range<u64>) {
        for (map, part) in self.parts(range) {
            map.release(part);
        }
    }
}
