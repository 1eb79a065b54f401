//! Reading of `gate.yml`, or of the `gate` of an experiment.

use std::sync::Arc;

use super::config::{GateConfig, GroupRules, ROLES, RoleRules, Rules, TaskRules};
use super::slip::Limit;
use crate::yaml::diagnostic::SourceText;
use crate::yaml::{self, Diagnostics, Field, Fields, Node, RecipeError};

impl GateConfig {
    /// Reads a gate file; `name` is how the user calls it.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, RecipeError> {
        let source = Arc::new(SourceText { name: name.to_owned(), text: text.to_owned() });
        let mut diagnostics = Diagnostics::new(Arc::clone(&source), false);
        let documents = yaml::parse(text, &mut diagnostics);
        let mut config = Self { source: Some(source), ..Self::default() };
        match documents.as_slice() {
            [] => {}
            [root] => read(root, &mut config, &mut diagnostics),
            [_, second, ..] => diagnostics.error(second.span, "a gate file holds one document"),
        }
        let left_out = |task: &&TaskRules| !config.only.is_empty() && !config.only.contains(&task.task);
        for task in config.tasks.iter().filter(left_out) {
            let message = format!("task `{}` has rules, and `only` leaves it out", task.task);
            diagnostics.error_help(task.span, message, "list it under `only`, or take its rules away");
        }
        diagnostics.check()?;
        Ok(config)
    }
}

const KEYS: &[&str] =
    &["baseline", "alpha", "seed", "fail_on_inconclusive", "default", "roles", "tasks", "groups", "only"];
const RULE_KEYS: &[&str] = &["metric", "min", "max_drop", "max_drop_rel", "alpha"];
const TASK_KEYS: &[&str] = &["metric", "min", "max_drop", "max_drop_rel", "alpha", "role"];
const GROUP_KEYS: &[&str] = &["min", "max_drop", "max_drop_rel", "alpha", "tasks", "role", "weight_by_size"];

/// Reads a gate into `config`, which holds the defaults; faults are noted with their places. A limit that stands there
/// without a value is one of them: nobody who writes its key means the default.
pub(crate) fn read(root: &Node, config: &mut GateConfig, diagnostics: &mut Diagnostics) {
    let fields = Fields::of_optional(root, "the gate file", diagnostics).known("key", KEYS, diagnostics);
    for field in fields.iter() {
        match field.name {
            "baseline" => config.baseline = field.read(diagnostics),
            "alpha" => config.alpha = limit(field, Limit::Alpha, diagnostics).unwrap_or(config.alpha),
            "seed" => config.seed = field.read(diagnostics).unwrap_or(config.seed),
            "fail_on_inconclusive" => {
                config.fail_on_inconclusive = field.read(diagnostics).unwrap_or(config.fail_on_inconclusive);
            }
            "default" => {
                let fields = Fields::of_optional(field.node, "`default`", diagnostics);
                config.default = rules(fields.known("key", RULE_KEYS, diagnostics), diagnostics).or(&config.default);
            }
            "roles" => {
                let roles = Fields::of_optional(field.node, "`roles`", diagnostics).known("key", &ROLES, diagnostics);
                config.roles.extend(roles.iter().filter(|role| ROLES.contains(&role.name)).map(|field| {
                    let fields = entry(field, "role", RULE_KEYS, diagnostics);
                    RoleRules { role: field.name.to_owned(), rules: rules(fields, diagnostics), span: Some(field.key) }
                }));
            }
            "tasks" => {
                let tasks = Fields::of_optional(field.node, "`tasks`", diagnostics);
                config.tasks.extend(tasks.iter().map(|field| {
                    let fields = entry(field, "task", TASK_KEYS, diagnostics);
                    TaskRules {
                        task: field.name.to_owned(),
                        rules: rules(fields, diagnostics),
                        role: role(fields, diagnostics),
                        span: Some(field.key),
                    }
                }));
            }
            "groups" => {
                let groups = Fields::of_optional(field.node, "`groups`", diagnostics);
                config.groups.extend(groups.iter().map(|field| group(field, diagnostics)));
            }
            "only" => config.only = field.read(diagnostics).unwrap_or_else(Vec::new),
            _ => {}
        }
    }
}

/// The rules of a role, task or group.
fn entry<'n>(field: Field<'n>, what: &str, known: &[&str], diagnostics: &mut Diagnostics) -> Fields<'n> {
    let subject = format!("{what} `{}`", field.name);
    Fields::of_optional(field.node, &subject, diagnostics).known("key", known, diagnostics)
}

fn rules(fields: Fields<'_>, diagnostics: &mut Diagnostics) -> Rules {
    let mut rules = Rules::default();
    for field in fields.iter() {
        let span = Some(field.node.span);
        match field.name {
            "metric" => rules.metric = field.read(diagnostics),
            "min" => (rules.min, rules.spans.min) = (limit(field, Limit::Min, diagnostics), span),
            "max_drop" => (rules.max_drop, rules.spans.max_drop) = (limit(field, Limit::MaxDrop, diagnostics), span),
            "max_drop_rel" => {
                (rules.max_drop_rel, rules.spans.max_drop_rel) = (limit(field, Limit::MaxDropRel, diagnostics), span);
            }
            "alpha" => rules.alpha = limit(field, Limit::Alpha, diagnostics),
            _ => {}
        }
    }
    rules
}

fn group(field: Field<'_>, diagnostics: &mut Diagnostics) -> GroupRules {
    let fields = entry(field, "group", GROUP_KEYS, diagnostics);
    let group = GroupRules {
        name: field.name.to_owned(),
        // Groups have no metric of their own: the key is unknown to them.
        rules: Rules { metric: None, ..rules(fields, diagnostics) },
        role: role(fields, diagnostics),
        tasks: fields.get("tasks").and_then(|field| field.read(diagnostics)).unwrap_or_else(Vec::new),
        weight_by_size: fields.get("weight_by_size").and_then(|field| field.read(diagnostics)).unwrap_or(false),
        span: Some(field.key),
    };
    // A limit that is there and wrong is reported already.
    let spans = group.rules.spans;
    if spans.min.or(spans.max_drop).or(spans.max_drop_rel).is_none() {
        let message = format!("group `{}` has neither `min` nor a greatest drop", group.name);
        diagnostics.error(field.node.span, message);
    }
    group
}

fn role(fields: Fields<'_>, diagnostics: &mut Diagnostics) -> Option<String> {
    let words = ROLES.map(|role| (role, role));
    fields.get("role")?.one_of("role", &words, diagnostics).map(str::to_owned)
}

fn limit(field: Field<'_>, limit: Limit, diagnostics: &mut Diagnostics) -> Option<f64> {
    match field.scalar().map_or(Err(None), |text| limit.read(text)) {
        Ok(value) => Some(value),
        Err(advice) => {
            field.refuse(limit.range().words(), advice, diagnostics);
            None
        }
    }
}
