//! Gains and losses of every row of an experiment against the base model.

use super::report::data::{Difference, Forgetting, TaskColumn};
use crate::error::Result;
use crate::eval::compare::TaskComparison;
use crate::eval::compare::{Range, Wanted, compare_each};
use crate::eval::metrics::find;
use crate::eval::results::RunResults;
use crate::stats::resample::Resampling;

/// The changes of a row by task, and of its means by role. What has no change is explained in `notes`, once for
/// all rows.
pub(super) fn changes(
    name: &str,
    base: &RunResults,
    results: &RunResults,
    tasks: &[TaskColumn],
    resampling: Resampling,
    notes: &mut Vec<String>,
) -> Result<Forgetting> {
    let mut found = Forgetting { row: name.to_owned(), ..Forgetting::default() };
    let wanted = |task: &TaskColumn| Wanted { task: task.name.clone(), metric: Some(task.metric.clone()) };
    for task in tasks {
        let comparison = compare_each(base, results, &[wanted(task)], true, resampling)?;
        found.tasks.push(comparison.tasks.first().and_then(difference));
    }
    for role in ["seen", "unseen"] {
        let members: Vec<&TaskColumn> = tasks.iter().filter(|task| task.role == role).collect();
        let change = match members.as_slice() {
            [] => continue,
            _ if no_mean(tasks, role).is_some() => continue,
            [only] => {
                let position = tasks.iter().position(|task| task.name == only.name);
                position.and_then(|at| found.tasks.get(at).copied().flatten())
            }
            members => {
                // Each task by its own metric: two ways of reading answers are still one mean of accuracies.
                let list: Vec<Wanted> = members.iter().map(|task| wanted(task)).collect();
                let comparison = compare_each(base, results, &list, true, resampling)?;
                comparison.groups.iter().find(|group| group.name == format!("role:{role}")).map(|mean| {
                    let (value, interval) = (mean.difference, mean.interval);
                    Difference { value, interval, ..Difference::default() }
                })
            }
        };
        match change {
            Some(change) => found.means.push((role.to_owned(), change)),
            None => {
                let note = format!("The mean over the {role} tasks has no change: not all of them have one.");
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
    }
    Ok(found)
}

/// Reason why the tasks of a role have no mean: their metrics have no common scale. `None` where they have one.
pub(super) fn no_mean(tasks: &[TaskColumn], role: &str) -> Option<String> {
    let metric = |task: &TaskColumn| task.metric.split_once(',').map_or(task.metric.clone(), |(name, _)| name.into());
    let members: Vec<(&TaskColumn, String)> =
        tasks.iter().filter(|task| task.role == role).map(|task| (task, metric(task))).collect();
    let scale = |name: &str| find(name).ok().map(|info| (Range::of_metric(name), info.higher_is_better));
    let mut scales = members.iter().filter_map(|(_, name)| scale(name));
    let (first, up) = scales.next()?;
    let differs = scales.any(|(range, rises)| !Range::averages_with(first, range) || rises != up);
    differs.then(|| {
        let list: Vec<String> = members.iter().map(|(task, name)| format!("{} ({name})", task.name)).collect();
        format!("There is no mean over the {role} tasks, as their metrics have no common scale: {}.", list.join(", "))
    })
}

fn difference(task: &TaskComparison) -> Option<Difference> {
    Some(Difference {
        value: task.difference,
        interval: task.interval?,
        mcnemar_p: task.mcnemar_p,
        lost: task.lost,
        won: task.won,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, metric: &str) -> TaskColumn {
        TaskColumn { name: name.into(), role: "unseen".into(), metric: metric.into(), documents: 3 }
    }

    #[test]
    fn accuracies_read_in_two_ways_have_a_mean_and_perplexities_none() {
        let mut tasks = vec![column("a", "acc,choice-ll"), column("b", "acc,none"), column("c", "f1_weighted,none")];
        assert_eq!(no_mean(&tasks, "unseen"), None);
        tasks.push(column("d", "word_perplexity,none"));
        let note = no_mean(&tasks, "unseen").unwrap();
        assert!(note.contains("d (word_perplexity)") && note.contains("no common scale"), "{note}");
        assert_eq!(no_mean(&tasks, "seen"), None);
    }
}
