//! From names, files and folders to tasks and groups.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::config::TaskConfig;
use super::error::TaskError;
use super::file::{Entries, Entry, Files, Origin};
use super::index::{Index, Named};
use super::reader::{Flag, Reader};
use super::schema::{self, TASK_KEYS};
use super::suite;
use crate::error::Result;
use crate::python::yaml_scalars::json;
use crate::yaml::{Diagnostics, Fields, Kind, Node};

const GROUP_KEYS: &[&str] = &["group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag", "include"];

const AGGREGATE_KEYS: &[&str] = &["metric", "aggregation", "weight_by_size", "filter_list"];

/// One entry of a group's `aggregate_metric_list`.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateMetric {
    pub metric: String,
    /// Filters it is aggregated for; `None` stands for all that the tasks have.
    pub filters: Option<Vec<String>>,
    /// Whether tasks count by their documents.
    pub weight_by_size: bool,
}

/// A group of tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// `group`.
    pub name: String,
    /// `group_alias`.
    pub alias: Option<String>,
    /// Names of the tasks and groups directly in it.
    pub members: Vec<String>,
    /// Names of all tasks in it and below.
    pub tasks: Vec<String>,
    /// Metrics that are averaged over the tasks.
    pub aggregate: Vec<AggregateMetric>,
    pub metadata: Map<String, Value>,
}

/// Selected tasks and groups.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskSet {
    /// Tasks, each once, in the order asked for.
    pub tasks: Vec<TaskConfig>,
    /// Groups, outer ones first.
    pub groups: Vec<Group>,
    /// Problems that stop nothing.
    pub warnings: Vec<String>,
}

/// Resolves names of the built-in suite (tasks, groups, tags), task files and folders of them.
///
/// # Errors
/// Every problem of a file with its line, unknown names with the nearest known one.
pub fn load(names: &[String]) -> Result<TaskSet> {
    load_from(names, &[])
}

/// [`load`], with further folders whose tasks, groups and tags can be named.
///
/// # Errors
/// As [`load`].
pub fn load_from(names: &[String], folders: &[PathBuf]) -> Result<TaskSet> {
    let mut loader = Loader { files: Files::default(), index: Index::default(), set: TaskSet::default() };
    for file in suite::files() {
        loader.index.add_file(&Origin::BuiltIn(file.to_owned()), &mut loader.files)?;
    }
    for folder in folders {
        loader.index.add_folder(folder, true, &mut loader.files)?;
    }
    for name in names {
        loader.name(name)?;
    }
    loader.files.check()?;
    loader.set.warnings = loader.files.warnings();
    loader.set.warnings.append(&mut loader.index.warnings);
    Ok(loader.set)
}

struct Loader {
    files: Files,
    index: Index,
    set: TaskSet,
}

impl Loader {
    /// One of the names that the user gave.
    fn name(&mut self, name: &str) -> Result<(), TaskError> {
        let path = Path::new(name);
        if self.index.get(name).is_some() && !name.contains(['/', '\\']) {
            self.add(name, None, &mut Vec::new()).map(|_| ())
        } else if path.is_dir() {
            let names = self.index.add_folder(path, false, &mut self.files)?;
            if names.is_empty() {
                return Err(TaskError::EmptyFolder { path: path.to_owned() });
            }
            for name in names {
                self.add(&name, None, &mut Vec::new())?;
            }
            Ok(())
        } else if path.is_file() {
            let first = self.files.len();
            let found = self.index.add_file(&Origin::Disk(path.to_owned()), &mut self.files)?;
            self.files.mark_used(first..self.files.len());
            self.files.check()?;
            match found {
                Some(name) => self.add_with_siblings(&name, path),
                None => Err(TaskError::Settings {
                    task: name.to_owned(),
                    message: "the file has neither `task` nor `group`".to_owned(),
                }),
            }
        } else {
            Err(self.index.unknown(name))
        }
    }

    /// A group's file may name tasks of the files beside it. These are read only then, so that a
    /// damaged neighbour does not hinder a task that stands alone.
    fn add_with_siblings(&mut self, name: &str, path: &Path) -> Result<(), TaskError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Some(own @ Named::Group(..)) = self.index.get(name).cloned() {
            self.index.add_folder(folder, false, &mut self.files)?;
            self.index.insert(name.to_owned(), own);
        }
        self.add(name, None, &mut Vec::new()).map(|_| ())
    }

    /// Adds a task, group or tag to the result; returns the names of its tasks.
    fn add(
        &mut self,
        name: &str,
        overrides: Option<&Entries>,
        above: &mut Vec<String>,
    ) -> Result<Vec<String>, TaskError> {
        let Some(named) = self.index.get(name).cloned() else {
            let group = above.last().cloned().unwrap_or_else(String::new);
            let nearest = self.index.nearest(name);
            return Err(TaskError::UnknownMember { group, name: name.to_owned(), nearest });
        };
        match named {
            Named::Task(mut entries, origin, files) => {
                self.files.mark_used(files);
                entries.extend(overrides.cloned().unwrap_or_else(Entries::default));
                self.add_task(entries, &origin, above.last().map(String::as_str)).map(|name| vec![name])
            }
            Named::Tag(mut tasks) => {
                tasks.sort();
                let mut names = Vec::new();
                for task in tasks {
                    names.extend(self.add(&task, overrides, above)?);
                }
                Ok(names)
            }
            Named::Group(entries, origin, files) => {
                self.files.mark_used(files);
                self.add_group(name, &entries, &origin, overrides, above)
            }
        }
    }

    /// Adds a task to the result and returns its name there. A group may have a task with settings of
    /// its own that is there already with others: then it is another task, `GROUP::TASK`.
    fn add_task(&mut self, mut entries: Entries, origin: &Origin, group: Option<&str>) -> Result<String, TaskError> {
        let mut task = self.task(&entries, origin)?;
        let plain = task.name.clone();
        let mut copies = 0;
        while let Some(known) = self.set.tasks.iter().find(|known| known.name == task.name) {
            let mut same = known.raw.clone();
            same.insert("task".to_owned(), Value::String(plain.clone()));
            let mut raw = task.raw.clone();
            raw.insert("task".to_owned(), Value::String(plain.clone()));
            if same == raw {
                return Ok(known.name.clone());
            }
            let Some(group) = group else { return Err(TaskError::TwoVersions { task: plain }) };
            copies += 1;
            let place = if copies > 1 { format!(" {copies}") } else { String::new() };
            let name = format!("{group}::{plain}{place}");
            if let Some(entry) = entries.get_mut("task") {
                entry.node.kind = Kind::Scalar { text: name, quoted: true };
            }
            task = self.task(&entries, origin)?;
        }
        let name = task.name.clone();
        self.set.tasks.push(task);
        Ok(name)
    }

    fn task(&mut self, entries: &Entries, origin: &Origin) -> Result<TaskConfig, TaskError> {
        let task = schema::task(entries, origin, &mut self.files);
        let Some(task) = task else {
            self.files.check()?;
            return Err(TaskError::Settings { task: origin.display(), message: "the task is incomplete".to_owned() });
        };
        Ok(task)
    }

    fn add_group(
        &mut self,
        name: &str,
        entries: &Entries,
        origin: &Origin,
        overrides: Option<&Entries>,
        above: &mut Vec<String>,
    ) -> Result<Vec<String>, TaskError> {
        if above.iter().any(|group| group == name) {
            return Err(TaskError::GroupCycle { group: name.to_owned() });
        }
        let known: Vec<&str> = GROUP_KEYS.iter().chain(TASK_KEYS).copied().collect();
        schema::check_keys(entries, &known, &mut self.files);
        // Whatever is no key of the group itself is set for all its tasks; the caller's settings win.
        let mut inherited: Entries = entries
            .iter()
            .filter(|(key, _)| !GROUP_KEYS.contains(&key.as_str()))
            .map(|(k, e)| (k.clone(), e.clone()))
            .collect();
        // What a caller says about the group itself (its name, its members, how it is averaged) is not for
        // its tasks: each of them would get the group's name.
        let caller = overrides.into_iter().flatten().filter(|(key, _)| !GROUP_KEYS.contains(&key.as_str()));
        inherited.extend(caller.map(|(key, entry)| (key.clone(), entry.clone())));
        let place = self.set.groups.len();
        let aggregate = self.aggregate(entries);
        self.set.groups.push(Group {
            name: name.to_owned(),
            alias: entries.get("group_alias").and_then(|e| e.node.text()).map(str::to_owned),
            members: Vec::new(),
            tasks: Vec::new(),
            aggregate,
            metadata: match entries.get("metadata").map(|e| json(&e.node)) {
                Some(Value::Object(map)) => map,
                _ => Map::new(),
            },
        });
        above.push(name.to_owned());
        let (mut members, mut tasks) = (Vec::new(), Vec::new());
        if let Some(entry) = entries.get("task") {
            let nodes = match &entry.node.kind {
                Kind::Sequence(items) => items.clone(),
                _ => vec![entry.node.clone()],
            };
            for node in nodes {
                let (member, found) = self.member(name, entry, &node, &inherited, origin, above)?;
                members.push(member);
                for task in found {
                    if !tasks.contains(&task) {
                        tasks.push(task);
                    }
                }
            }
        }
        above.pop();
        if let Some(group) = self.set.groups.get_mut(place) {
            group.members = members;
            group.tasks.clone_from(&tasks);
        }
        Ok(tasks)
    }

    /// A name, a name with overrides, or a task or group written out.
    fn member(
        &mut self,
        group: &str,
        entry: &Entry,
        node: &Node,
        inherited: &Entries,
        origin: &Origin,
        above: &mut Vec<String>,
    ) -> Result<(String, Vec<String>), TaskError> {
        if let Some(name) = node.text() {
            let tasks = self.add(name, Some(inherited), above)?;
            return Ok((self.member_name(name, &tasks), tasks));
        }
        let Kind::Mapping(keys) = &node.kind else {
            self.files.error(entry, node.span, "a member is a name or a mapping with `task` or `group`", "");
            self.files.check()?;
            return Ok((String::new(), Vec::new()));
        };
        let own: Entries = keys
            .iter()
            .map(|(key, node)| (key.value.clone(), Entry { node: node.clone(), key: key.span, file: entry.file }))
            .collect::<IndexMap<_, _>>();
        let text = |key: &str| own.get(key).and_then(|e| e.node.text()).map(str::to_owned);
        let mut merged = inherited.clone();
        match (text("group"), text("task")) {
            (Some(name), _) => {
                if self.index.get(&name).is_some() {
                    merged.extend(own.into_iter().filter(|(key, _)| key != "group"));
                    return self.add(&name, Some(&merged), above).map(|tasks| (name, tasks));
                }
                let name = format!("{group}::{name}");
                let tasks = self.add_group(&name, &own, origin, Some(inherited), above)?;
                Ok((name, tasks))
            }
            (None, Some(name)) => {
                merged.extend(own);
                if self.index.get(&name).is_some() {
                    // A tag's or group's tasks keep their names.
                    merged.shift_remove("task");
                    let tasks = self.add(&name, Some(&merged), above)?;
                    return Ok((self.member_name(&name, &tasks), tasks));
                }
                let name = format!("{group}::{name}");
                if let Some(entry) = merged.get_mut("task") {
                    entry.node.kind = Kind::Scalar { text: name, quoted: true };
                }
                let name = self.add_task(merged, origin, Some(group))?;
                Ok((name.clone(), vec![name]))
            }
            (None, None) => {
                self.files.error(entry, node.span, "a member needs `task` or `group`", "");
                self.files.check()?;
                Ok((String::new(), Vec::new()))
            }
        }
    }

    /// The name of a member in the results: that of the group, tag or task, or what a task is called
    /// because its name was taken.
    fn member_name(&self, name: &str, tasks: &[String]) -> String {
        match (self.index.get(name), tasks) {
            (Some(Named::Task(..)), [task]) => task.clone(),
            _ => name.to_owned(),
        }
    }

    fn aggregate(&mut self, entries: &Entries) -> Vec<AggregateMetric> {
        let mut reader = Reader::new(entries, &mut self.files);
        let Some((field, diagnostics)) = reader.given("aggregate_metric_list") else { return Vec::new() };
        let items = match &field.node.kind {
            Kind::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(field.node),
        };
        let fields = items.iter().map(Fields::within);
        fields.filter_map(|fields| aggregate_metric(fields, diagnostics)).collect()
    }
}

fn aggregate_metric(fields: Fields<'_>, diagnostics: &mut Diagnostics) -> Option<AggregateMetric> {
    fields.known("key of `aggregate_metric_list`", AGGREGATE_KEYS, diagnostics);
    let Some(metric) = fields.given("metric") else {
        diagnostics.error(fields.span(), "an entry of `aggregate_metric_list` has no `metric`");
        return None;
    };
    let metric = metric.read(diagnostics)?;
    if let Some(field) = fields.given("aggregation").filter(|field| field.scalar() != Some("mean")) {
        diagnostics.error(field.node.span, "groups are aggregated by `mean` only");
    }
    let filters = fields.optional("filter_list", diagnostics);
    let weight_by_size = fields.optional("weight_by_size", diagnostics).is_none_or(|Flag(flag)| flag);
    Some(AggregateMetric { metric, filters, weight_by_size })
}
