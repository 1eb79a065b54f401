//! Reading `gate.yml`, or the `gate` of an experiment.

use super::config::{GateConfig, GroupRules, ROLES, RoleRules, Rules, TaskRules};
use super::slip::Limit;
use crate::yaml::{self, Diagnostics, Kind, Node, Spanned};

const KEYS: &[&str] =
    &["baseline", "alpha", "seed", "fail_on_inconclusive", "default", "roles", "tasks", "groups", "only"];
const RULE_KEYS: &[&str] = &["metric", "min", "max_drop", "max_drop_rel", "alpha"];
const TASK_KEYS: &[&str] = &["metric", "min", "max_drop", "max_drop_rel", "alpha", "role"];
const GROUP_KEYS: &[&str] = &["min", "max_drop", "max_drop_rel", "alpha", "tasks", "role", "weight_by_size"];

/// Reads a gate into `config`, which holds the defaults; faults are noted with their places.
pub(crate) fn read(root: &Node, config: &mut GateConfig, diagnostics: &mut Diagnostics) {
    Reader { diagnostics }.root(root, config);
}

struct Reader<'a> {
    diagnostics: &'a mut Diagnostics,
}

impl Reader<'_> {
    /// The entries of a mapping, unknown keys reported.
    fn entries<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Vec<(&'n Spanned<String>, &'n Node)> {
        let Kind::Mapping(entries) = &node.kind else {
            if node.kind != Kind::Null {
                self.diagnostics.error(node.span, format!("{what} must be a mapping, not {}", node.describe()));
            }
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, value) in entries {
            if known.is_empty() || known.contains(&key.value.as_str()) {
                found.push((key, value));
            } else {
                self.diagnostics.unknown(key.span, "key", &key.value, known);
            }
        }
        found
    }

    fn root(&mut self, root: &Node, config: &mut GateConfig) {
        for (key, value) in self.entries(root, "the gate file", KEYS) {
            match key.value.as_str() {
                key @ "baseline" => config.baseline = self.text(value, key),
                "alpha" => config.alpha = self.limit(value, Limit::Alpha).unwrap_or(config.alpha),
                "seed" => match value.text().and_then(|text| text.parse().ok()) {
                    Some(seed) => config.seed = seed,
                    None => self.diagnostics.error(value.span, "`seed` must be a whole number of 0 or more"),
                },
                "fail_on_inconclusive" => match value.text().and_then(yaml::boolean) {
                    Some(flag) => config.fail_on_inconclusive = flag,
                    None => self.diagnostics.error(value.span, "`fail_on_inconclusive` must be true or false"),
                },
                "default" => config.default = self.rules(value, "`default`", RULE_KEYS).or(&config.default),
                "roles" => {
                    for (role, rules) in self.entries(value, "`roles`", &ROLES) {
                        let rules = self.rules(rules, &format!("role `{}`", role.value), RULE_KEYS);
                        config.roles.push(RoleRules { role: role.value.clone(), rules, span: Some(role.span) });
                    }
                }
                "tasks" => {
                    for (task, node) in self.entries(value, "`tasks`", &[]) {
                        let rules = self.rules(node, &format!("task `{}`", task.value), TASK_KEYS);
                        let role = self.role(node);
                        config.tasks.push(TaskRules { task: task.value.clone(), rules, role, span: Some(task.span) });
                    }
                }
                "groups" => {
                    for (name, node) in self.entries(value, "`groups`", &[]) {
                        let group = self.group(name, node);
                        config.groups.push(group);
                    }
                }
                key => config.only = self.list(value, key),
            }
        }
    }

    fn rules(&mut self, node: &Node, what: &str, known: &[&str]) -> Rules {
        let mut rules = Rules::default();
        for (key, value) in self.entries(node, what, known) {
            let span = Some(value.span);
            match key.value.as_str() {
                key @ "metric" => rules.metric = self.text(value, key),
                "min" => (rules.min, rules.spans.min) = (self.limit(value, Limit::Min), span),
                "max_drop" => (rules.max_drop, rules.spans.max_drop) = (self.limit(value, Limit::MaxDrop), span),
                "max_drop_rel" => {
                    (rules.max_drop_rel, rules.spans.max_drop_rel) = (self.limit(value, Limit::MaxDropRel), span);
                }
                "alpha" => rules.alpha = self.limit(value, Limit::Alpha),
                _ => {}
            }
        }
        rules
    }

    fn group(&mut self, name: &Spanned<String>, node: &Node) -> GroupRules {
        let rules = self.rules(node, &format!("group `{}`", name.value), GROUP_KEYS);
        let mut group = GroupRules {
            name: name.value.clone(),
            rules,
            tasks: Vec::new(),
            role: self.role(node),
            weight_by_size: false,
            span: Some(name.span),
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
        // A limit that is there and wrong is reported already.
        let spans = group.rules.spans;
        if spans.min.or(spans.max_drop).or(spans.max_drop_rel).is_none() {
            let message = format!("group `{}` has neither `min` nor a greatest drop", group.name);
            self.diagnostics.error(node.span, message);
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

    fn limit(&mut self, node: &Node, limit: Limit) -> Option<f64> {
        let text = node.text().unwrap_or("");
        match limit.read(text) {
            Ok(value) => Some(value),
            Err(fault) => {
                let message = format!("`{}` must be {}", limit.key(), limit.range());
                match fault {
                    Some(help) => self.diagnostics.error_help(node.span, message, help),
                    None => self.diagnostics.error(node.span, message),
                }
                None
            }
        }
    }
}

fn mapping(node: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let entries = match &node.kind {
        Kind::Mapping(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(key, value)| (key.value.as_str(), value))
}
