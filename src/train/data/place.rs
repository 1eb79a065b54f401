//! Origin of a row.

use super::error::DataError;
use crate::tokenizer::TokenizerError;

/// Origin of a row, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub origin: &'a str,
    pub row: usize,
}

impl Place<'_> {
    pub(crate) fn tokenizer_fault(self, source: TokenizerError) -> DataError {
        DataError::Encode { origin: self.origin.to_owned(), row: self.row, source }
    }
}
