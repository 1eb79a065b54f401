//! Texts of the error that ends a command.

use crate::error::Error;
use crate::visible;
use crate::yaml::RecipeError;

/// An error and its hints. What comes from files is escaped; only the excerpts of a recipe's problems have lines.
pub(super) fn plain_error(error: &Error) -> String {
    let mut text = "error: ".to_owned();
    for (index, cause) in error.causes().enumerate() {
        if index > 0 {
            text.push_str(": ");
        }
        let message = cause.to_string();
        let laid_out = cause.is::<RecipeError>() || (index == 0 && error.is_laid_out());
        text.push_str(&if laid_out { visible::block(&message) } else { visible::message(&message) });
    }
    for hint in error.hints().iter().filter(|h| !h.is_empty()) {
        text.push_str("\n  hint: ");
        text.push_str(&visible::message(hint));
    }
    text.push('\n');
    text
}

/// An error as a line of JSON.
pub(super) fn json_error(error: &Error) -> String {
    let chain = error.chain();
    let value = serde_json::json!({
        "event": "error",
        "kind": error.kind().name(),
        "message": chain.first(),
        "chain": chain,
        "hints": error.hints(),
    });
    format!("{}\n", visible::json(&value.to_string()))
}
