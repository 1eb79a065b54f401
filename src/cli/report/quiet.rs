//! Nothing but warnings that the result may not be what was meant.

use super::plain::write_line;
use crate::event::{Event, Reporter};

/// Writes to stderr, as JSON lines if `json`.
pub(crate) struct Quiet {
    pub(super) json: bool,
}

impl Reporter for Quiet {
    fn event(&self, event: Event) {
        if let Event::Alert(message) = event {
            let json = || serde_json::json!({"event": "warning", "message": message}).to_string();
            write_line(&if self.json { json() } else { format!("warning: {message}") });
        }
    }
}
