//! Faults of a gate that only the results show: limits that no score can reach, rules for roles that no task
//! has, means over scores that have no common scale.

use std::sync::Arc;

use super::config::{GateConfig, GroupRules, Rules};
use crate::eval::compare::{Pairing, Range};
use crate::eval::results::RunResults;
use crate::yaml::diagnostic::SourceText;
use crate::yaml::{Diagnostics, RecipeError, Span, per_cent};

fn diagnostics(config: &GateConfig) -> Diagnostics {
    let flags = || Arc::new(SourceText { name: "the gate's limits".to_owned(), text: String::new() });
    Diagnostics::new(config.source.clone().unwrap_or_else(flags), false)
}

/// Every role with rules is the role of a task of the results, checked or not.
pub(super) fn check_roles(
    config: &GateConfig,
    baseline: &RunResults,
    candidate: &RunResults,
) -> Result<(), RecipeError> {
    let mut diagnostics = diagnostics(config);
    let tasks = || candidate.tasks.iter().chain(&baseline.tasks);
    let occurs = |role: &str| tasks().any(|task| config.role(&task.name, task.role.as_deref()) == Some(role));
    let help = "a task's role stands in its task file (`metadata: {role: seen}`), or in the gate file: \
                `tasks: {NAME: {role: seen}}`";
    if !config.roles_may_be_empty {
        for rules in config.roles.iter().filter(|rules| !occurs(&rules.role)) {
            let message = format!("role `{}` has rules, but no task of the results has that role", rules.role);
            diagnostics.error_help(rules.span, message, help);
        }
        for group in &config.groups {
            if let Some(role) = group.role.as_ref().filter(|role| group.tasks.is_empty() && !occurs(role)) {
                let message =
                    format!("group `{}` is of role `{role}`, but no task of the results has that role", group.name);
                diagnostics.error_help(group.span, message, help);
            }
        }
    }
    diagnostics.check()
}

/// Every limit is one that the metric can reach.
pub(super) fn check_limits(config: &GateConfig, pairings: &[(Pairing, Rules)]) -> Result<(), RecipeError> {
    let mut diagnostics = diagnostics(config);
    for (pairing, rules) in pairings {
        let (metric, _) = pairing.key.split_once(',').unwrap_or((&pairing.key, ""));
        if let Some(range) = Range::of_documents(metric, &pairing.tally) {
            check_rules(rules, &format!("`{metric}` of task `{}`", pairing.task), range, &mut diagnostics);
        }
    }
    diagnostics.check()
}

/// Notes limits that lie outside of a metric's range.
pub(crate) fn check_rules(rules: &Rules, what: &str, range: Range, diagnostics: &mut Diagnostics) {
    let Range { low, high } = range;
    let mut note = |key: &str, span: Option<Span>, value: f64, [least, most]: [f64; 2]| {
        let message = format!("`{key}` {value} is out of range for {what}: it must be from {least} to {most}");
        // A limit that many tasks inherit is one fault.
        let start = format!("`{key}` {value} ");
        if diagnostics.list().iter().any(|known| known.span == span && known.message.starts_with(&start)) {
            return;
        }
        if (1.0..=100.0).contains(&value) {
            diagnostics.error_help(
                span,
                message,
                format!("limits are shares, not percentage points: {}", per_cent(value)),
            );
        } else {
            diagnostics.error(span, message);
        }
    };
    if let Some(drop) = rules.max_drop.filter(|drop| *drop > range.greatest_drop()) {
        note("max_drop", rules.spans.max_drop, drop, [0.0, range.greatest_drop()]);
    }
    if let Some(min) = rules.min.filter(|min| !(low..=high).contains(min)) {
        note("min", rules.spans.min, min, [low, high]);
    }
}

/// A mean has one scale and one direction, and its limits fit it.
pub(super) fn check_group(config: &GateConfig, group: &GroupRules, members: &[&Pairing]) -> Result<(), RecipeError> {
    let mut diagnostics = diagnostics(config);
    if members.is_empty() {
        let message = format!("group `{}` has no task among those that are checked", group.name);
        diagnostics.error_help(group.span, message, "check its tasks too, or take the group away");
    }
    let metric =
        |pairing: &Pairing| pairing.key.split_once(',').map_or(pairing.key.clone(), |(metric, _)| metric.into());
    let scale =
        |pairing: &Pairing| (Range::of_documents(&metric(pairing), &pairing.tally), pairing.tally.higher_is_better);
    let scales: Vec<(Option<Range>, bool)> = members.iter().map(|pairing| scale(pairing)).collect();
    if let [first, rest @ ..] = scales.as_slice() {
        if rest.iter().all(|(range, up)| Range::averages_with(first.0, *range) && *up == first.1) {
            let ranges: Option<Vec<Range>> = scales.iter().map(|(range, _)| *range).collect();
            if let Some(range) = ranges.and_then(Range::widest) {
                check_rules(&group.rules, &format!("the mean `{}`", group.name), range, &mut diagnostics);
            }
        } else {
            let list: Vec<String> = members.iter().map(|p| format!("{} ({})", p.task, metric(p))).collect();
            let message =
                format!("group `{}` averages metrics without a common scale: {}", group.name, list.join(", "));
            diagnostics.error_help(group.span, message, "name a metric for its tasks, or list tasks of one metric");
        }
    }
    diagnostics.check()
}
