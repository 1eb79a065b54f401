//! Limits on drops: rules of tasks, roles and groups, and their inheritance.

use std::sync::Arc;

use crate::yaml::Span;
use crate::yaml::diagnostic::SourceText;

/// The roles of tasks.
pub(crate) const ROLES: [&str; 3] = ["seen", "unseen", "general"];

/// Limits of a task or of a group. A value that is absent is inherited, from the task's role, then
/// from the gate's default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rules {
    /// `"<metric>"` or `"<metric>,<slot>"`; the first of the results without one.
    pub metric: Option<String>,
    /// The candidate's score must reach this.
    pub min: Option<f64>,
    /// Greatest drop that does not matter, in units of the metric.
    pub max_drop: Option<f64>,
    /// The same as a share of the baseline's score.
    pub max_drop_rel: Option<f64>,
    /// Level of the check's tests.
    pub alpha: Option<f64>,
    /// Places of the limits in their file.
    pub spans: LimitSpans,
}

/// Places of a rule's limits; none of those that a flag or a default sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitSpans {
    /// Place of `min`.
    pub min: Option<Span>,
    /// Place of `max_drop`.
    pub max_drop: Option<Span>,
    /// Place of `max_drop_rel`.
    pub max_drop_rel: Option<Span>,
}

impl Rules {
    /// These rules, with what they leave open taken from `other`. A task that states one kind of
    /// tolerance does not inherit the other kind.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let own_drop = self.max_drop.is_some() || self.max_drop_rel.is_some();
        Self {
            metric: self.metric.clone().or_else(|| other.metric.clone()),
            min: self.min.or(other.min),
            max_drop: if own_drop { self.max_drop } else { other.max_drop },
            max_drop_rel: if own_drop { self.max_drop_rel } else { other.max_drop_rel },
            alpha: self.alpha.or(other.alpha),
            spans: LimitSpans {
                min: if self.min.is_some() { self.spans.min } else { other.spans.min },
                max_drop: if own_drop { self.spans.max_drop } else { other.spans.max_drop },
                max_drop_rel: if own_drop { self.spans.max_drop_rel } else { other.spans.max_drop_rel },
            },
        }
    }

    /// The limits in the words of a gate file.
    #[must_use]
    pub fn describe(&self) -> String {
        let limits = [("min", self.min), ("max_drop", self.max_drop), ("max_drop_rel", self.max_drop_rel)];
        let words = limits.iter().filter_map(|(key, limit)| Some(format!("{key} {}", (*limit)?)));
        let words = words.collect::<Vec<_>>().join(" and ");
        if words.is_empty() { "no limit".to_owned() } else { words }
    }
}

/// Rules that the tasks of a role inherit.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleRules {
    pub role: String,
    pub rules: Rules,
    /// Place in the gate file.
    pub span: Option<Span>,
}

/// A task with rules or a role of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRules {
    pub task: String,
    pub rules: Rules,
    /// Role, whatever the results call it.
    pub role: Option<String>,
    /// Place in the gate file.
    pub span: Option<Span>,
}

/// A mean over tasks that is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRules {
    /// Name: that of a group of the results, unless tasks or a role are given.
    pub name: String,
    pub rules: Rules,
    /// The tasks, where they are listed.
    pub tasks: Vec<String>,
    /// The tasks' role, where that is what holds them together.
    pub role: Option<String>,
    /// Weighted by documents; else plain.
    pub weight_by_size: bool,
    /// Place in the gate file.
    pub span: Option<Span>,
}

/// Contents of a gate file.
#[derive(Debug, Clone, PartialEq)]
pub struct GateConfig {
    /// The baseline's results, where the command line names none.
    pub baseline: Option<String>,
    /// Level of the tests where no check says otherwise.
    pub alpha: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Whether an inconclusive gate ends with exit code 102.
    pub fail_on_inconclusive: bool,
    /// Rules that every task inherits.
    pub default: Rules,
    /// Rules that the tasks of a role inherit.
    pub roles: Vec<RoleRules>,
    /// Tasks with rules or a role of their own.
    pub tasks: Vec<TaskRules>,
    /// Means that are checked besides the tasks.
    pub groups: Vec<GroupRules>,
    /// The tasks that are checked; all of the candidate without any.
    pub only: Vec<String>,
    /// Whether a role may have rules and no task: the gate of an experiment serves rows for which other
    /// tasks are unseen.
    pub roles_may_be_empty: bool,
    /// The file, for messages.
    pub source: Option<Arc<SourceText>>,
}

/// The drop that no task may exceed unless a gate says otherwise: five points.
pub(crate) const DEFAULT_MAX_DROP: f64 = 0.05;

impl Default for GateConfig {
    /// No task may lose more than [`DEFAULT_MAX_DROP`], whatever its role: `gate`, `run` and `demo` share this
    /// rule. A tolerance of 0 is possible, but then only an improvement can be shown to keep it.
    fn default() -> Self {
        Self {
            baseline: None,
            alpha: 0.05,
            seed: 0,
            fail_on_inconclusive: false,
            default: Rules { max_drop: Some(DEFAULT_MAX_DROP), ..Rules::default() },
            roles: Vec::new(),
            tasks: Vec::new(),
            groups: Vec::new(),
            only: Vec::new(),
            roles_may_be_empty: false,
            source: None,
        }
    }
}

impl GateConfig {
    /// The rules of a task of this role, everything inherited.
    #[must_use]
    pub fn rules(&self, task: &str, role: Option<&str>) -> Rules {
        let none = Rules::default();
        let own = self.tasks.iter().find(|known| known.task == task).map_or(&none, |known| &known.rules);
        let of_role =
            self.roles.iter().find(|known| Some(known.role.as_str()) == role).map_or(&none, |known| &known.rules);
        own.or(of_role).or(&self.default)
    }

    /// A task's role: the gate file's word, else the results'.
    #[must_use]
    pub fn role<'a>(&'a self, task: &str, stated: Option<&'a str>) -> Option<&'a str> {
        let own = self.tasks.iter().find(|known| known.task == task).and_then(|known| known.role.as_deref());
        own.or(stated)
    }

    /// The whole rule in one line, to stand beside a verdict.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        for role in &self.roles {
            parts.push(format!("{} for {} tasks", role.rules.or(&self.default).describe(), role.role));
        }
        let every = if self.roles.is_empty() { "every task" } else { "all other tasks" };
        let every =
            if self.only.is_empty() { every.to_owned() } else { format!("{every} of {}", self.only.join(", ")) };
        parts.push(format!("{} for {every}", self.default.describe()));
        let stated = |rules: &Rules| rules.min.or(rules.max_drop).or(rules.max_drop_rel).is_some();
        for task in self.tasks.iter().filter(|task| stated(&task.rules)) {
            let rules = self.rules(&task.task, task.role.as_deref());
            parts.push(format!("{} for {}", rules.describe(), task.task));
        }
        for group in &self.groups {
            parts.push(format!("{} for the mean `{}`", group.rules.describe(), group.name));
        }
        let own =
            !self.roles.is_empty() || !self.groups.is_empty() || self.tasks.iter().any(|task| stated(&task.rules));
        let default = Self::default();
        let built_in = !own && self.alpha == default.alpha && self.default.describe() == default.default.describe();
        format!("{}; alpha {}{}", parts.join(", "), self.alpha, if built_in { " (the default rule)" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_inherited_from_role_and_default() {
        let text = "alpha: 0.1\ndefault: {max_drop: 0.03, min: 0.2}\nroles:\n  unseen: {max_drop_rel: 0.05}\n\
                    tasks:\n  fpb: {metric: acc, max_drop: 0.5%}\n";
        let error = GateConfig::parse("g.yml", text).unwrap_err().to_string();
        assert!(error.contains("`max_drop` must be a number") && error.contains("g.yml:6:"), "{error}");
        let config = GateConfig::parse("g.yml", &text.replace("0.5%", "0.005")).unwrap();
        let fpb = config.rules("fpb", Some("unseen"));
        assert_eq!((fpb.max_drop, fpb.max_drop_rel, fpb.min), (Some(0.005), None, Some(0.2)));
        let other = config.rules("x", Some("unseen"));
        assert_eq!((other.max_drop, other.max_drop_rel, other.min), (None, Some(0.05), Some(0.2)));
        assert_eq!(config.rules("x", Some("seen")).max_drop, Some(0.03));
        assert_eq!(config.alpha, 0.1);
    }

    #[test]
    fn faults_have_places_and_near_names() {
        let text = "tasks:\n  fpb: {max_dorp: 0.1}\nroles: {sene: {}}\nalpha: 0.7\ngroups: {g: {tasks: [a]}}\n";
        let error = GateConfig::parse("g.yml", text).unwrap_err().to_string();
        for part in ["4 problems", "`max_drop`?", "g.yml:2:9", "`seen`?", "`alpha` must be", "neither `min`"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
