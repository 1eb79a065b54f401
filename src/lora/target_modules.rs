//! Rules that name modules.

use super::pattern::ModulePattern;
use crate::python::regex::SearchError;

/// Linear layers that get factors (or, as `exclude_modules`, that do not).
#[derive(Debug, Clone, PartialEq)]
pub enum TargetModules {
    /// Every linear layer but the output head.
    AllLinear,
    /// Those whose path is one of these names or ends in a dot and one of them.
    Names(Vec<String>),
    /// Those whose whole path matches.
    Pattern(ModulePattern),
}

impl TargetModules {
    /// Whether the rule names a module.
    ///
    /// # Errors
    /// A pattern that takes too many steps.
    pub fn matches(&self, module: &str) -> Result<bool, SearchError> {
        match self {
            Self::AllLinear => Ok(!is_named(module, "lm_head")),
            Self::Names(names) => Ok(names.iter().any(|name| is_named(module, name))),
            Self::Pattern(pattern) => pattern.matches(module),
        }
    }
}

/// Whether a path is a name or ends in a dot and it.
pub(super) fn is_named(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}
