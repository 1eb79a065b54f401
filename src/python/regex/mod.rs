//! Regular expressions as Python's `re` reads them.
//!
//! PEFT's module patterns, the harness's filters and its `regex_replace` are written for Python. A
//! pattern is parsed by Python's grammar, which refuses what `re.compile` refuses (unbalanced
//! parentheses, `\p{L}`, a look-behind of variable width), and is translated for `fancy-regex`:
//! linear-time where the pattern is regular, backtracking with a bound on its steps where it has
//! look-around or back-references.
//!
//! Three things depend on the text, and are decided when one is searched: `$` also matches before a
//! last line break, `\b` follows Python's notion of a word (letters, numbers and `_`, no combining
//! marks), and an empty match may follow a match directly.

mod error;
mod escapes;
mod groups;
mod pattern;
mod template;
#[cfg(test)]
mod tests;
mod translate;

pub(crate) use error::{PatternError, SearchError};
pub(crate) use pattern::{Found, PythonRegex};
pub(crate) use template::Template;
