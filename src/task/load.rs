//! From names, files and folders to tasks and groups.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::config::TaskConfig;
use super::error::TaskError;
use super::file::{Entries, Entry, Files, Origin};
use super::pyyaml::json;
use super::schema::{self, TASK_KEYS};
use super::suite;
use crate::error::Result;
use crate::yaml::diagnostic::nearest;
use crate::yaml::{Kind, Node};

const GROUP_KEYS: &[&str] = &["group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag", "include"];

/// One entry of a group's `aggregate_metric_list`.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateMetric {
    /// The metric.
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
    /// What is averaged over them.
    pub aggregate: Vec<AggregateMetric>,
    /// `metadata`.
    pub metadata: Map<String, Value>,
}

/// What was asked for.
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
    let mut loader = Loader { files: Files::default(), index: BTreeMap::new(), set: TaskSet::default() };
    for file in suite::files() {
        loader.index_file(&Origin::BuiltIn(file.to_owned()))?;
    }
    for folder in folders {
        loader.index_folder(folder)?;
    }
    for name in names {
        loader.name(name)?;
    }
    loader.files.check()?;
    loader.set.warnings = loader.files.warnings();
    Ok(loader.set)
}

/// A named thing that can be asked for.
#[derive(Debug, Clone)]
enum Named {
    Task(Entries, Origin),
    Group(Entries, Origin),
    Tag(Vec<String>),
}

struct Loader {
    files: Files,
    index: BTreeMap<String, Named>,
    set: TaskSet,
}

impl Loader {
    /// Adds what a file defines to the index; later definitions of a name win. Its faults show up
    /// when it is used.
    fn index_file(&mut self, origin: &Origin) -> Result<Option<String>, TaskError> {
        let entries = self.files.read(origin)?;
        let text = |key: &str| entries.get(key).and_then(|entry| entry.node.text()).map(str::to_owned);
        let (name, named) = if let Some(group) = text("group") {
            (group, Named::Group(entries, origin.clone()))
        } else if let Some(task) = text("task") {
            for tag in schema::tags(&entries, &mut self.files) {
                match self.index.entry(tag).or_insert_with(|| Named::Tag(Vec::new())) {
                    Named::Tag(tasks) if !tasks.contains(&task) => tasks.push(task.clone()),
                    _ => {}
                }
            }
            (task, Named::Task(entries, origin.clone()))
        } else {
            return Ok(None);
        };
        self.index.insert(name.clone(), named);
        Ok(Some(name))
    }

    /// Adds all files of a folder and returns the names they define.
    fn index_folder(&mut self, folder: &Path) -> Result<Vec<String>, TaskError> {
        let entries = std::fs::read_dir(folder).map_err(|source| TaskError::Io { path: folder.to_owned(), source })?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|e| e == "yml" || e == "yaml"));
        paths.sort();
        let mut names = Vec::new();
        for path in paths {
            names.extend(self.index_file(&Origin::Disk(path))?);
        }
        Ok(names)
    }

    /// One of the names that the user gave.
    fn name(&mut self, name: &str) -> Result<(), TaskError> {
        let path = Path::new(name);
        if self.index.contains_key(name) && !name.contains(['/', '\\']) {
            self.add(name, None, &mut Vec::new()).map(|_| ())
        } else if path.is_dir() {
            let names = self.index_folder(path)?;
            if names.is_empty() {
                self.files.check()?;
                return Err(TaskError::EmptyFolder { path: path.to_owned() });
            }
            for name in names {
                self.add(&name, None, &mut Vec::new())?;
            }
            Ok(())
        } else if path.is_file() {
            let Some(name) = self.index_file(&Origin::Disk(path.to_owned()))? else {
                self.files.check()?;
                return Err(TaskError::Settings {
                    task: name.to_owned(),
                    message: "the file has neither `task` nor `group`".to_owned(),
                });
            };
            self.files.check()?;
            self.add_with_siblings(&name, path)
        } else {
            let known: Vec<&str> = self.index.keys().map(String::as_str).collect();
            let nearest = nearest(name, &known).map(str::to_owned);
            Err(TaskError::Unknown {
                name: name.to_owned(),
                nearest,
                known: known.into_iter().map(str::to_owned).collect(),
            })
        }
    }

    /// A group's file may name tasks of the files beside it. These are read only then, so that a
    /// damaged neighbour does not hinder a task that stands alone.
    fn add_with_siblings(&mut self, name: &str, path: &Path) -> Result<(), TaskError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Some(Named::Group(..)) = self.index.get(name) {
            let own = self.index.get(name).cloned();
            self.index_folder(folder)?;
            if let Some(own) = own {
                self.index.insert(name.to_owned(), own);
            }
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
            let known: Vec<&str> = self.index.keys().map(String::as_str).collect();
            let nearest = nearest(name, &known).map(str::to_owned);
            let group = above.last().cloned().unwrap_or_default();
            return Err(TaskError::UnknownMember { group, name: name.to_owned(), nearest });
        };
        match named {
            Named::Task(mut entries, origin) => {
                entries.extend(overrides.cloned().unwrap_or_default());
                self.add_task(&entries, &origin).map(|name| vec![name])
            }
            Named::Tag(mut tasks) => {
                tasks.sort();
                let mut names = Vec::new();
                for task in tasks {
                    names.extend(self.add(&task, overrides, above)?);
                }
                Ok(names)
            }
            Named::Group(entries, origin) => self.add_group(name, &entries, &origin, overrides, above),
        }
    }

    fn add_task(&mut self, entries: &Entries, origin: &Origin) -> Result<String, TaskError> {
        let Some(task) = schema::task(entries, origin, &mut self.files) else {
            self.files.check()?;
            return Err(TaskError::Settings { task: origin.display(), message: "the task is incomplete".to_owned() });
        };
        let name = task.name.clone();
        match self.set.tasks.iter().find(|known| known.name == name) {
            Some(known) if known.raw != task.raw => Err(TaskError::TwoVersions { task: name }),
            Some(_) => Ok(name),
            None => {
                self.set.tasks.push(task);
                Ok(name)
            }
        }
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
        inherited.extend(overrides.cloned().unwrap_or_default());
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
            return Ok((name.to_owned(), tasks));
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
                if self.index.contains_key(&name) {
                    merged.extend(own.into_iter().filter(|(key, _)| key != "group"));
                    return self.add(&name, Some(&merged), above).map(|tasks| (name, tasks));
                }
                let name = format!("{group}::{name}");
                let tasks = self.add_group(&name, &own, origin, Some(inherited), above)?;
                Ok((name, tasks))
            }
            (None, Some(name)) => {
                merged.extend(own);
                if self.index.contains_key(&name) {
                    return self.add(&name, Some(&merged), above).map(|tasks| (name, tasks));
                }
                let name = format!("{group}::{name}");
                if let Some(entry) = merged.get_mut("task") {
                    entry.node.kind = Kind::Scalar { text: name.clone(), quoted: true };
                }
                self.add_task(&merged, origin)?;
                Ok((name.clone(), vec![name]))
            }
            (None, None) => {
                self.files.error(entry, node.span, "a member needs `task` or `group`", "");
                self.files.check()?;
                Ok((String::new(), Vec::new()))
            }
        }
    }

    fn aggregate(&mut self, entries: &Entries) -> Vec<AggregateMetric> {
        let Some(entry) = entries.get("aggregate_metric_list") else { return Vec::new() };
        let list = match json(&entry.node) {
            Value::Array(list) => list,
            Value::Null => Vec::new(),
            other => vec![other],
        };
        let mut aggregate = Vec::new();
        for item in list {
            let text = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
            let Some(metric) = text("metric") else {
                self.files.error(entry, entry.node.span, "an entry of `aggregate_metric_list` has no `metric`", "");
                continue;
            };
            if text("aggregation").is_some_and(|name| name != "mean") {
                self.files.error(entry, entry.node.span, "groups are aggregated by `mean` only", "");
            }
            let filters = match item.get("filter_list") {
                Some(Value::String(name)) => Some(vec![name.clone()]),
                Some(Value::Array(names)) => Some(names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect()),
                _ => None,
            };
            let weight_by_size = item.get("weight_by_size").and_then(Value::as_bool).unwrap_or(true);
            aggregate.push(AggregateMetric { metric, filters, weight_by_size });
        }
        aggregate
    }
}
