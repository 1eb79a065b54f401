//! Encoded examples.

/// A token sequence and which of its tokens carry loss.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Encoded {
    pub tokens: Vec<u32>,
    pub trained: Vec<bool>,
}

impl Encoded {
    pub(super) fn push(&mut self, tokens: &[u32], trained: bool) {
        self.tokens.extend_from_slice(tokens);
        self.trained.resize(self.tokens.len(), trained);
    }

    /// Loss on everything that can carry it: the first token has nothing before it.
    pub(crate) fn train_on_all(&mut self) {
        self.trained.fill(true);
        self.leave_first();
    }

    pub(crate) fn leave_first(&mut self) {
        if let Some(first) = self.trained.first_mut() {
            *first = false;
        }
    }
}
