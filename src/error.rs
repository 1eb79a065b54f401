//! The one error type that reaches a caller, and what every module's own errors promise.
//!
//! Each module defines a `thiserror` enum for its defects and implements [`Diagnose`] for it: the
//! [`ErrorKind`] decides the exit code, the hints say what to do next. [`Error`] holds any of them
//! without naming them, so this module stays at the bottom of the dependency order.
//!
//! Messages are lower-case fragments without a full stop; the cure goes to
//! [`hints`](Diagnose::hints).

use std::fmt;

/// Coarse kind of an error: it decides the exit code and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong command line or invalid recipe.
    Usage,
    /// An input file is missing, malformed or unsupported.
    Input,
    /// Inputs do not fit together.
    Mismatch,
    /// The operating system refused something.
    Io,
    /// The user interrupted the run.
    Cancelled,
    /// A verification found a difference.
    Verification,
    /// A defect of billon itself.
    Internal,
}

impl ErrorKind {
    /// The process exit code for this kind (see the README's table).
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Cancelled => 130,
            Self::Input | Self::Mismatch | Self::Io | Self::Verification | Self::Internal => 1,
        }
    }

    /// The name used in `--json` output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Input => "input",
            Self::Mismatch => "mismatch",
            Self::Io => "io",
            Self::Cancelled => "cancelled",
            Self::Verification => "verification",
            Self::Internal => "internal",
        }
    }
}

/// An error that knows its kind and how the user can cure it.
pub trait Diagnose: std::error::Error + Send + Sync + 'static {
    /// The coarse class of the defect.
    fn kind(&self) -> ErrorKind;

    /// Advice, one sentence each, printed after the message.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether the message has lines of its own (marked excerpts), in which values from files are escaped already.
    fn is_laid_out(&self) -> bool {
        false
    }
}

/// Any error of the library.
pub struct Error(Box<dyn Diagnose>);

impl Error {
    /// The coarse class of the defect.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind()
    }

    /// Advice, one sentence each.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        self.0.hints()
    }

    /// The messages of this error and of everything that caused it, outermost first.
    #[must_use]
    pub fn chain(&self) -> Vec<String> {
        self.causes().map(ToString::to_string).collect()
    }

    /// This error and everything that caused it, outermost first.
    pub fn causes(&self) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
        let first: &(dyn std::error::Error + 'static) = &*self.0;
        std::iter::successors(Some(first), |error| error.source())
    }

    /// Whether the message has lines of its own, see [`Diagnose::is_laid_out`].
    #[must_use]
    pub fn is_laid_out(&self) -> bool {
        self.0.is_laid_out()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<E: Diagnose> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// The user asked to stop (Ctrl-C); nothing was published.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("interrupted; nothing was published")]
pub struct Cancelled;

impl Diagnose for Cancelled {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Cancelled
    }
}

/// Result with the library's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
