//! `gate`: what no row may lose.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::reader::Reader;
use crate::error::Result;
use crate::eval::compare::Range;
use crate::eval::gate::{self, GateConfig};
use crate::experiment::error::ExperimentError;
use crate::experiment::row_gate;
use crate::experiment::schema::{Evaluation, Merge, Specialist};
use crate::experiment::tasks::{self, RoleTask};
use crate::experiment::value::json;
use crate::yaml::{Diagnostics, Kind, Node};

impl Reader {
    /// The gate and its settings as a value. Without any, `billon gate`'s default rule holds for every task.
    pub(super) fn gate(
        &mut self,
        node: Option<&Node>,
        evaluation: &Evaluation,
        seed: u64,
    ) -> Result<(GateConfig, Value)> {
        // Other tasks are unseen to every row, so a role with rules need not have tasks in each.
        let mut config = GateConfig { seed, roles_may_be_empty: true, ..GateConfig::default() };
        config.default.metric.clone_from(&evaluation.metric);
        let Some(node) = node.filter(|node| node.kind != Kind::Null) else {
            let settings = serde_json::json!({"alpha": config.alpha, "default": {"max_drop": config.default.max_drop}});
            return Ok((config, settings));
        };
        let settings = if let Some(file) = node.text() {
            let path = self.beside(file);
            let text = crate::storage::input::read_text(&path, crate::storage::input::TEXT_BYTES)
                .map_err(|source| ExperimentError::Read { path: path.clone(), source })?;
            let read = GateConfig::parse(&path.display().to_string(), &text)?;
            config = GateConfig { roles_may_be_empty: true, ..read };
            Value::from(text.as_str())
        } else {
            // A gate that is written out decides as `billon gate` does with the same words in a file.
            config.seed = GateConfig::default().seed;
            config.source = Some(Arc::clone(&self.source));
            gate::read(node, &mut config, &mut self.diagnostics);
            json(node)
        };
        if config.baseline.take().is_some() {
            let help = "leave `baseline` out: every row is compared with the base model's";
            self.diagnostics.error_help(node.span, "the gate of an experiment has its own baseline", help);
        }
        Ok((config, settings))
    }

    /// Notes what the tasks show to be wrong with a gate, before anything is trained: limits out of their
    /// metrics' ranges, and roles that no task has for any row.
    pub(super) fn check_gate(
        &mut self,
        config: &GateConfig,
        evaluation: &Evaluation,
        specialists: &IndexMap<String, Specialist>,
        merges: &IndexMap<String, Merge>,
    ) {
        // Tasks that cannot be loaded are reported when the steps are made.
        let Ok(loaded) = tasks::load(evaluation) else { return };
        let source = config.source.clone().unwrap_or_else(|| Arc::clone(&self.source));
        let mut diagnostics = Diagnostics::new(Arc::clone(&source), false);
        let mut ranges = Vec::new();
        for RoleTask { config: task, role, .. } in &loaded {
            let rules = config.rules(&task.name, Some(role.name()));
            let first = || task.metrics.first().map(|metric| metric.name.clone());
            let wanted = rules.metric.clone().or_else(|| evaluation.metric.clone());
            let has = |name: &str| task.metrics.iter().any(|metric| metric.name == name);
            let metric = wanted.map(|key| key.split_once(',').map_or(key.clone(), |(name, _)| name.to_owned()));
            let Some(metric) = metric.filter(|name| has(name)).or_else(first) else { continue };
            ranges.push(Range::of_metric(&metric));
            if let Some(range) = Range::of_metric(&metric) {
                for role in ["seen", "unseen", "general"] {
                    let rules = config.rules(&task.name, Some(role));
                    gate::check_rules(&rules, &format!("`{metric}` of task `{}`", task.name), range, &mut diagnostics);
                }
            }
        }
        // Which tasks a group has differs by row; where no task is unbounded, no mean is.
        if let Some(widest) = ranges.into_iter().collect::<Option<Vec<Range>>>().and_then(Range::widest) {
            for group in &config.groups {
                gate::check_rules(&group.rules, &format!("the mean `{}`", group.name), widest, &mut diagnostics);
            }
        }
        let asks_for_roles = !config.roles.is_empty() || config.groups.iter().any(|group| group.role.is_some());
        let roles = if asks_for_roles { roles(&loaded, evaluation, specialists, merges) } else { BTreeSet::new() };
        for rules in config.roles.iter().filter(|rules| !roles.contains(&rules.role)) {
            let message = format!("role `{}` has rules, but no task has that role for any row", rules.role);
            diagnostics.error_help(rules.span, message, "list tasks of that role under `evaluation`");
        }
        for group in config.groups.iter().filter(|group| group.tasks.is_empty()) {
            if let Some(role) = group.role.as_ref().filter(|role| !roles.contains(*role)) {
                let message =
                    format!("group `{}` is of role `{role}`, but no task has that role for any row", group.name);
                diagnostics.error_help(group.span, message, "list tasks of that role under `evaluation`");
            }
        }
        let names: Vec<&str> = loaded.iter().map(|task| task.config.name.as_str()).collect();
        let known = |name: &str| names.contains(&name) || evaluation.tasks().any(|(listed, _)| listed == name);
        for rules in config.tasks.iter().filter(|rules| !known(&rules.task)) {
            match rules.span {
                Some(span) => diagnostics.unknown(span, "task", &rules.task, &names),
                None => diagnostics.error(None, format!("unknown task `{}`", rules.task)),
            }
        }
        if Arc::ptr_eq(&source, &self.source) {
            for found in diagnostics.list() {
                self.diagnostics.push(found.severity, found.span, found.message.clone(), found.help.clone());
            }
        } else {
            self.other_files.push(diagnostics);
        }
    }
}

/// The roles that tasks have for some row.
fn roles(
    loaded: &[RoleTask],
    evaluation: &Evaluation,
    specialists: &IndexMap<String, Specialist>,
    merges: &IndexMap<String, Merge>,
) -> BTreeSet<String> {
    let Ok(training) = crate::experiment::training_tasks::Training::new(evaluation, specialists) else {
        return BTreeSet::new();
    };
    let rows = training.of_all_rows(merges);
    let of_rows = |task: &RoleTask| -> Vec<String> {
        rows.iter().map(|trained_on| row_gate::role(&task.config.name, task.role.name(), trained_on)).collect()
    };
    loaded.iter().flat_map(of_rows).collect()
}
