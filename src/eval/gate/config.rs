//! `gate.yml`: what must not drop, and by how much.

use std::sync::Arc;

use crate::yaml::diagnostic::SourceText;
use crate::yaml::{self, Diagnostics, Kind, Node, RecipeError, number};

const KEYS: &[&str] =
    &["baseline", "alpha", "seed", "fail_on_inconclusive", "default", "roles", "tasks", "groups", "only"];
const RULE_KEYS: &[&str] = &["metric", "min", "max_drop", "max_drop_rel", "alpha"];
const TASK_KEYS: &[&str] = &["metric", "min", "max_drop", "max_drop_rel", "alpha", "role"];
const GROUP_KEYS: &[&str] = &["min", "max_drop", "max_drop_rel", "alpha", "tasks", "role", "weight_by_size"];

/// The roles of tasks.
pub const ROLES: [&str; 3] = ["seen", "unseen", "general"];

/// What is asked of a task or of a group. A value that is absent is inherited, from the task's role,
/// then from the gate's default.
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
        }
    }
}

/// A mean over tasks that is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRules {
    /// Its name: that of a group of the results, unless tasks or a role are given.
    pub name: String,
    /// Its rules.
    pub rules: Rules,
    /// The tasks, where they are listed.
    pub tasks: Vec<String>,
    /// The tasks' role, where that is what holds them together.
    pub role: Option<String>,
    /// Weighted by documents; else plain.
    pub weight_by_size: bool,
}

/// A gate.
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
    /// What every task inherits.
    pub default: Rules,
    /// What the tasks of a role inherit.
    pub roles: Vec<(String, Rules)>,
    /// Tasks with rules or a role of their own.
    pub tasks: Vec<(String, Rules, Option<String>)>,
    /// Means that are checked besides the tasks.
    pub groups: Vec<GroupRules>,
    /// The tasks that are checked; all of the candidate without any.
    pub only: Vec<String>,
}

impl Default for GateConfig {
    /// Seen tasks may lose one point, others two: what a user would not notice. A tolerance of 0 is
    /// possible, but then only an improvement can be shown to keep it.
    fn default() -> Self {
        let drop = |max_drop| Rules { max_drop: Some(max_drop), ..Rules::default() };
        Self {
            baseline: None,
            alpha: 0.05,
            seed: 0,
            fail_on_inconclusive: false,
            default: drop(0.02),
            roles: vec![("seen".to_owned(), drop(0.01))],
            tasks: Vec::new(),
            groups: Vec::new(),
            only: Vec::new(),
        }
    }
}

impl GateConfig {
    /// Reads a gate file; `name` is how the user calls it.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, RecipeError> {
        let source = SourceText { name: name.to_owned(), text: text.to_owned() };
        let mut diagnostics = Diagnostics::new(Arc::new(source), false);
        let documents = yaml::parse(text, &mut diagnostics);
        let mut config = Self::default();
        match documents.as_slice() {
            [] => {}
            [root] => Reader { diagnostics: &mut diagnostics }.root(root, &mut config),
            [_, second, ..] => diagnostics.error(second.span, "a gate file holds one document"),
        }
        diagnostics.check()?;
        Ok(config)
    }

    /// The rules of a task of this role, everything inherited.
    #[must_use]
    pub fn rules(&self, task: &str, role: Option<&str>) -> Rules {
        let none = Rules::default();
        let own = self.tasks.iter().find(|(name, ..)| name == task).map_or(&none, |(_, rules, _)| rules);
        let of_role = self.roles.iter().find(|(name, _)| Some(name.as_str()) == role).map_or(&none, |(_, rules)| rules);
        own.or(of_role).or(&self.default)
    }

    /// A task's role: the gate file's word, else the results'.
    #[must_use]
    pub fn role<'a>(&'a self, task: &str, stated: Option<&'a str>) -> Option<&'a str> {
        let own = self.tasks.iter().find(|(name, ..)| name == task).and_then(|(.., role)| role.as_deref());
        own.or(stated)
    }
}

struct Reader<'a> {
    diagnostics: &'a mut Diagnostics,
}

impl Reader<'_> {
    /// The entries of a mapping, unknown keys reported.
    fn entries<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Vec<(&'n str, &'n Node)> {
        let Kind::Mapping(entries) = &node.kind else {
            if node.kind != Kind::Null {
                self.diagnostics.error(node.span, format!("{what} must be a mapping, not {}", node.describe()));
            }
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, value) in entries {
            if known.is_empty() || known.contains(&key.value.as_str()) {
                found.push((key.value.as_str(), value));
            } else {
                self.diagnostics.unknown(key.span, "key", &key.value, known);
            }
        }
        found
    }

    fn root(&mut self, root: &Node, config: &mut GateConfig) {
        for (key, value) in self.entries(root, "the gate file", KEYS) {
            match key {
                "baseline" => config.baseline = self.text(value, key),
                "alpha" => config.alpha = self.alpha(value).unwrap_or(config.alpha),
                "seed" => match value.text().and_then(|text| text.parse().ok()) {
                    Some(seed) => config.seed = seed,
                    None => self.diagnostics.error(value.span, "`seed` must be a whole number"),
                },
                "fail_on_inconclusive" => match value.text().and_then(yaml::boolean) {
                    Some(flag) => config.fail_on_inconclusive = flag,
                    None => self.diagnostics.error(value.span, "`fail_on_inconclusive` must be true or false"),
                },
                "default" => config.default = self.rules(value, "`default`", RULE_KEYS).or(&config.default),
                "roles" => {
                    for (role, rules) in self.entries(value, "`roles`", &ROLES) {
                        let rules = self.rules(rules, &format!("role `{role}`"), RULE_KEYS);
                        config.roles.retain(|(name, _)| name != role);
                        config.roles.push((role.to_owned(), rules));
                    }
                }
                "tasks" => {
                    for (task, node) in self.entries(value, "`tasks`", &[]) {
                        let rules = self.rules(node, &format!("task `{task}`"), TASK_KEYS);
                        let role = self.role(node);
                        config.tasks.push((task.to_owned(), rules, role));
                    }
                }
                "groups" => {
                    for (name, node) in self.entries(value, "`groups`", &[]) {
                        let group = self.group(name, node);
                        config.groups.push(group);
                    }
                }
                _ => config.only = self.list(value, key),
            }
        }
    }

    fn rules(&mut self, node: &Node, what: &str, known: &[&str]) -> Rules {
        let mut rules = Rules::default();
        for (key, value) in self.entries(node, what, known) {
            match key {
                "metric" => rules.metric = self.text(value, key),
                "min" => rules.min = self.number(value, key, f64::NEG_INFINITY, f64::INFINITY),
                "max_drop" => rules.max_drop = self.number(value, key, 0.0, f64::INFINITY),
                "max_drop_rel" => rules.max_drop_rel = self.number(value, key, 0.0, 1.0),
                "alpha" => rules.alpha = self.alpha(value),
                _ => {}
            }
        }
        rules
    }

    fn group(&mut self, name: &str, node: &Node) -> GroupRules {
        let rules = self.rules(node, &format!("group `{name}`"), GROUP_KEYS);
        let mut group = GroupRules {
            name: name.to_owned(),
            rules,
            tasks: Vec::new(),
            role: self.role(node),
            weight_by_size: false,
        };
        for (key, value) in mapping(node) {
            match key {
                "tasks" => group.tasks = self.list(value, key),
                "weight_by_size" => match value.text().and_then(yaml::boolean) {
                    Some(flag) => group.weight_by_size = flag,
                    None => self.diagnostics.error(value.span, "`weight_by_size` must be true or false"),
                },
                _ => {}
            }
        }
        if group.rules.min.is_none() && group.rules.max_drop.is_none() && group.rules.max_drop_rel.is_none() {
            self.diagnostics.error(node.span, format!("group `{name}` has neither `min` nor a greatest drop"));
        }
        group
    }

    fn role(&mut self, node: &Node) -> Option<String> {
        let (_, value) = mapping(node).find(|(key, _)| *key == "role")?;
        let role = self.text(value, "role")?;
        if !ROLES.contains(&role.as_str()) {
            self.diagnostics.unknown(value.span, "role", &role, &ROLES);
        }
        Some(role)
    }

    fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        if node.text().is_none() {
            self.diagnostics.error(node.span, format!("`{key}` must be a text, not {}", node.describe()));
        }
        node.text().map(str::to_owned)
    }

    fn list(&mut self, node: &Node, key: &str) -> Vec<String> {
        match &node.kind {
            Kind::Sequence(items) => items.iter().filter_map(|item| self.text(item, key)).collect(),
            _ => {
                self.diagnostics.error(node.span, format!("`{key}` must be a list, not {}", node.describe()));
                Vec::new()
            }
        }
    }

    fn number(&mut self, node: &Node, key: &str, least: f64, most: f64) -> Option<f64> {
        let found = node.text().and_then(number).filter(|x| x.is_finite() && (least..=most).contains(x));
        if found.is_none() {
            let range = if least.is_finite() { format!(" of {least} or more") } else { String::new() };
            let range = if most.is_finite() { format!(" from {least} to {most}") } else { range };
            self.diagnostics.error(node.span, format!("`{key}` must be a number{range}"));
        }
        found
    }

    fn alpha(&mut self, node: &Node) -> Option<f64> {
        let found = node.text().and_then(number).filter(|x| *x >= 0.001 && *x < 0.5);
        if found.is_none() {
            self.diagnostics.error(node.span, "`alpha` must be a number from 0.001 to below 0.5");
        }
        found
    }
}

fn mapping(node: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let entries = match &node.kind {
        Kind::Mapping(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(key, value)| (key.value.as_str(), value))
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
        assert_eq!(config.rules("x", Some("seen")).max_drop, Some(0.01));
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
