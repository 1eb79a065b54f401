//! A row of a data set.

use serde_json::{Map, Value};

/// A record of a data set.
pub(super) type Doc = Map<String, Value>;
