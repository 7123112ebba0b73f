//! From the entries of the pipeline to tasks with their specs and children; and whether they fit each other.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::state::{Kind, Task};
use super::{Pass, Stop, matrix, results};
use crate::engine::decide::{Key, Need};
use crate::engine::doc::{is_empty, list, name, namespace, text};
use crate::engine::names::child_name;
use crate::engine::params::{self, Misfit, Type, references};

/// The children that the run knows or owns, by kind and task of the pipeline.
struct There<'k, 'a> {
    listed: BTreeMap<(&'k str, &'k str), Vec<&'k str>>,
    labelled: BTreeMap<(&'a str, &'a str), Vec<&'a Value>>,
}

impl<'k, 'a> There<'k, 'a> {
    fn of(known: &'k Value, owned: &'a [Value]) -> Self {
        let mut out = Self { listed: BTreeMap::new(), labelled: BTreeMap::new() };
        for reference in known.as_array().into_iter().flatten() {
            let key = (text(reference, "kind"), text(reference, "pipelineTaskName"));
            out.listed.entry(key).or_default().push(text(reference, "name"));
        }
        for object in owned {
            if let Some(task) = object["metadata"]["labels"]["tekton.dev/pipelineTask"].as_str() {
                out.labelled.entry((text(object, "kind"), task)).or_default().push(object);
            }
        }
        out
    }
}

impl<'a> Pass<'a> {
    /// The tasks of `spec`, in order, those of `finally` last.
    ///
    /// # Errors
    /// What must be read first; or that the run has failed or waits.
    pub(super) fn tasks<'t>(&mut self, spec: &'t Value, pipeline_name: &str) -> Result<Vec<Task<'t>>, Stop>
    where
        'a: 't,
    {
        let mut needs = BTreeSet::new();
        let mut waits = false;
        let mut out: Vec<Task<'t>> = Vec::new();
        let mut index: BTreeMap<String, usize> = BTreeMap::new();
        let known = self.status["childReferences"].clone();
        let seen = self.seen;
        let there = There::of(&known, &seen.owned);
        for (part, finally) in [("tasks", false), ("finally", true)] {
            for entry in list(spec, part) {
                let mut task = bare(entry, finally);
                let find = |name: &str| index.get(name).and_then(|at| out.get(*at));
                if let Some(text) = results::beyond_the_end(entry, find) {
                    let place = format!("PipelineRun {}/{}", namespace(self.run()), name(self.run()));
                    let message = format!("{place} can't be Run; couldn't resolve all references: {text}");
                    return Err(self.refuse("PipelineValidationFailed", &message, &text));
                }
                if let Ok(replacements) = results::resolve(entry, find)
                    && !replacements.is_empty()
                {
                    results::put(&mut task.entry, &replacements);
                    task.shown = task.entry.clone();
                }
                self.children_of(&mut task, &there);
                match self.spec_of(&mut task, pipeline_name) {
                    Ok(()) => {}
                    Err(Stop::Need(more)) => needs.extend(more),
                    Err(Stop::Waits) => waits = true,
                    Err(Stop::Done) => return Err(Stop::Done),
                }
                index.insert(task.name.clone(), out.len());
                out.push(task);
            }
        }
        if !needs.is_empty() {
            return Err(Stop::Need(needs));
        }
        if waits {
            self.awaits_remote("ResolvingTaskRef");
            return Err(Stop::Waits);
        }
        Ok(out)
    }

    /// Names of the task's children, from the status, from labels, or new ones; and those that are there.
    fn children_of<'t>(&self, task: &mut Task<'t>, there: &There<'_, 't>) {
        let key = (task.kind.child(), task.name.as_str());
        task.names = there.listed.get(&key).into_iter().flatten().map(|name| (*name).to_owned()).collect();
        let mut found: Vec<&'t Value> = there.labelled.get(&key).cloned().unwrap_or_default();
        found.sort_by_key(|child| (name(child).len(), name(child)));
        for child in &found {
            if !task.names.iter().any(|n| n == name(child)) {
                task.names.push(name(child).to_owned());
            }
        }
        if task.names.is_empty() || task.is_matrixed() {
            // A matrix whose lists are not known any more says nothing of its children.
            let all = new_names(name(self.run()), task);
            if task.names.iter().all(|name| all.contains(name)) {
                task.names = all;
            }
        }
        let there = |wanted: &String| found.iter().find(|c| name(c) == wanted).map(|c| Cow::Borrowed(*c));
        task.children = task.names.iter().filter_map(there).collect();
    }

    /// Finds the spec of the task: embedded, that of its child, or that of a Task.
    fn spec_of<'t>(&mut self, task: &mut Task<'t>, pipeline_name: &str) -> Result<(), Stop>
    where
        'a: 't,
    {
        match task.kind {
            Kind::Task => {}
            Kind::Custom => return Ok(()),
            Kind::Pipeline => return self.no_cycle(task, pipeline_name),
        }
        let reference = &task.entry["taskRef"];
        if !task.entry["taskSpec"].is_null() {
            task.spec = match &task.entry {
                Cow::Borrowed(entry) => Cow::Borrowed(&entry["taskSpec"]),
                Cow::Owned(entry) => Cow::Owned(entry["taskSpec"].clone()),
            };
            return Ok(());
        }
        task.task_name = text(reference, "name").to_owned();
        let known = task.children.iter().map(|c| &c["status"]["taskSpec"]).find(|s| !s.is_null());
        if let Some(spec) = known {
            task.spec = Cow::Owned(spec.clone());
            return Ok(());
        }
        if !text(reference, "resolver").is_empty() {
            // What has been started resolves its task itself.
            return if task.has_children() { Ok(()) } else { self.remote_task(task, pipeline_name) };
        }
        let key = Key::new("Task", namespace(self.run()), &task.task_name);
        let seen = self.seen;
        match seen.objects.get(&key) {
            None => Err(Stop::Need([Need::Object(key)].into())),
            Some(Some(found)) => {
                task.spec = Cow::Borrowed(&found["spec"]);
                Ok(())
            }
            Some(None) if task.has_children() => Ok(()),
            Some(None) => {
                let wanted = &task.task_name;
                let why = format!("tasks.tekton.dev {wanted:?} not found");
                Err(self.no_task(wanted, &why, pipeline_name))
            }
        }
    }

    /// A pipeline must not run itself, however many pipelines are in between: the runs above this one are looked at.
    fn no_cycle(&mut self, task: &Task, pipeline_name: &str) -> Result<(), Stop> {
        let wanted = text(&task.entry["pipelineRef"], "name");
        if wanted.is_empty() || task.has_children() {
            return Ok(());
        }
        let mut chain = vec![wanted.to_owned()];
        let mut run = self.run();
        loop {
            let own = text(&run["spec"]["pipelineRef"], "name");
            if !own.is_empty() {
                chain.push(own.to_owned());
            }
            if own == wanted {
                chain.reverse();
                let error = format!("pipelines run each other in a circle: {}", chain.join(" -> "));
                let place = format!("Pipeline {}/{pipeline_name}", namespace(run));
                let message = format!("{place} can't be Run; {error}");
                return Err(self.refuse("PipelineValidationFailed", &message, &error));
            }
            let owners = list(&run["metadata"], "ownerReferences").iter();
            let Some(above) = owners.into_iter().find(|o| text(o, "kind") == "PipelineRun") else {
                return Ok(());
            };
            let key = Key::new("PipelineRun", namespace(run), text(above, "name"));
            match self.seen.objects.get(&key) {
                None => return Err(Stop::Need([Need::Object(key)].into())),
                Some(None) => return Ok(()),
                Some(Some(found)) => run = found,
            }
        }
    }

    /// A task that cannot be had ends the run.
    pub(super) fn no_task(&mut self, wanted: &str, why: &str, pipeline_name: &str) -> Stop {
        let error = format!("Couldn't retrieve Task {wanted:?}: {why}");
        let message = format!(
            "Pipeline {}/{pipeline_name} can't be Run; it contains Tasks that don't exist: {error}",
            namespace(self.run())
        );
        self.fail("CouldntGetTask", &message, &error);
        Stop::Done
    }

    /// Params must fit the tasks that they are given to; `original` is the pipeline before substitution, if this
    /// is the first look.
    pub(super) fn tasks_fit(&mut self, tasks: &[Task], original: Option<&Value>) -> Result<(), Stop> {
        for task in tasks.iter().filter(|t| t.kind == Kind::Task && !t.spec.is_null()) {
            let misfit = check(task)
                .map(|misfit| format!("invalid input params for task {}: {misfit}", task.task_name))
                .or_else(|| original.and_then(|pipeline| self.enum_misfit(task, pipeline)));
            if let Some(error) = misfit {
                let head = if error.starts_with("pipeline param") {
                    "Validation failed for pipelinerun with error".to_owned()
                } else {
                    format!("Validation failed for pipelinerun {} with error", name(self.run()))
                };
                let message = format!("[User error] {head} {error}");
                return Err(self.refuse_as_is("PipelineValidationFailed", &message, &error));
            }
        }
        Ok(())
    }

    /// What a pipeline's param may be must be allowed by the task's param that it is given to.
    fn enum_misfit(&self, task: &Task, pipeline: &Value) -> Option<String> {
        if !self.flag("enable-param-enum") {
            return None;
        }
        let entries = list(pipeline, "tasks").iter().chain(list(pipeline, "finally"));
        let entry = entries.into_iter().find(|e| text(e, "name") == task.name)?;
        for param in list(entry, "params") {
            let found = references(param["value"].as_str().unwrap_or_default());
            let [only] = found.as_slice() else { continue };
            let Some(outer_name) = only.strip_prefix("params.") else { continue };
            let find = |all: &'_ Value, wanted: &str| {
                list(all, "params").iter().find(|p| text(p, "name") == wanted).cloned()
            };
            let (outer, inner) = (find(pipeline, outer_name)?, find(&task.spec, text(param, "name"))?);
            let (allowed, wanted) = (list(&inner, "enum"), list(&outer, "enum"));
            if Type::declared(&outer) != Type::String || allowed.is_empty() {
                return None;
            }
            if wanted.is_empty() {
                return Some(format!(
                    "pipeline param \"{outer_name}\" has no enum, but referenced in \"{}\" task has enums: {}",
                    task.task_name,
                    go_list(allowed)
                ));
            }
            if !wanted.iter().all(|w| allowed.contains(w)) {
                return Some(format!(
                    "pipeline param \"{outer_name}\" enum: {} is not a subset of the referenced in \"{}\" task param enum: {}",
                    go_list(wanted),
                    task.task_name,
                    go_list(allowed)
                ));
            }
        }
        None
    }

    /// References to results and optional workspaces must fit, before anything starts.
    pub(super) fn references_fit(&mut self, spec: &Value, tasks: &[Task]) -> Result<(), Stop> {
        let index: BTreeMap<&str, &Task<'_>> = tasks.iter().map(|t| (t.name.as_str(), t)).collect();
        for task in tasks {
            for reference in results::of_entry(&task.entry) {
                if let Some(why) = unknown_result(&reference, &index) {
                    let error = format!("invalid result reference in pipeline task {:?}: {why}", task.name);
                    return Err(self.refuse_as_is("InvalidTaskResultReference", &error, &error));
                }
            }
        }
        for result in list(spec, "results") {
            let mut wanted = Vec::new();
            results::variables(&result["value"], &mut wanted);
            for reference in wanted.iter().filter_map(|w| results::Reference::parse(w)) {
                if let Some(why) = unknown_result(&reference, &index) {
                    let error = format!("invalid pipeline result {:?}: {why}", text(result, "name"));
                    let message = format!(
                        "Failed to resolve pipeline result reference for {:?} with error {error}",
                        name(self.run())
                    );
                    return Err(self.refuse_as_is("InvalidPipelineResultReference", &message, &error));
                }
            }
        }
        if let Some(error) = required_but_optional(spec, tasks) {
            let message = format!("[User error] Optional workspace not supported by task: {error}");
            return Err(self.refuse_as_is("RequiredWorkspaceMarkedOptional", &message, &error));
        }
        Ok(())
    }
}

/// A list as the reference's language prints it.
fn go_list(items: &[Value]) -> String {
    let items: Vec<_> = items.iter().map(params::as_text).collect();
    format!("[{}]", items.join(" "))
}

fn bare(entry: &Value, finally: bool) -> Task<'_> {
    Task {
        name: text(entry, "name").to_owned(),
        entry: Cow::Borrowed(entry),
        shown: Cow::Borrowed(entry),
        finally,
        kind: Kind::of(entry),
        spec: Cow::Owned(Value::Null),
        task_name: String::new(),
        names: Vec::new(),
        children: Vec::new(),
    }
}

/// Names of children that are not there yet: with an index, where there are several.
pub(super) fn new_names(run: &str, task: &Task) -> Vec<String> {
    match matrix::count(&task.entry["matrix"]) {
        0 | 1 => vec![child_name(run, &format!("-{}", task.name))],
        several => (0..several).map(|i| matrix_name(run, &task.name, i, several)).collect(),
    }
}

/// Longest name of a child.
const NAME_MAX: usize = 63;

/// Name of the child for combination `index` of `several`; it ends in the index, however long the rest is.
fn matrix_name(run: &str, task: &str, index: usize, several: usize) -> String {
    let ending = format!("-{index}");
    let name = child_name(run, &format!("-{task}{ending}"));
    if name.ends_with(&ending) {
        return name;
    }
    let mut name = child_name(run, &format!("-{task}"));
    name.truncate(NAME_MAX - 1 - several.to_string().len());
    name + &ending
}

/// Params of the entry and of its matrix against the task's.
fn check(task: &Task) -> Option<Misfit> {
    let matrix = &task.entry["matrix"];
    let included = list(matrix, "include").iter().flat_map(|i| list(i, "params"));
    let from_matrix: Vec<&Value> = list(matrix, "params").iter().chain(included).collect();
    let mut given = list(&task.entry, "params").to_vec();
    // To the task, each value of a matrix is a text.
    given.extend(from_matrix.iter().map(|p| serde_json::json!({"name": p["name"], "value": ""})));
    // A list or map that is still a reference is looked at when it is known.
    let open = |spec: &Value| {
        let value = given.iter().find(|p| p["name"] == spec["name"]).and_then(|p| p["value"].as_str());
        Type::declared(spec) != Type::String && value.is_some_and(|v| v.contains("$("))
    };
    let specs: Vec<_> = list(&task.spec, "params").iter().filter(|spec| !open(spec)).cloned().collect();
    params::check(&specs, &given).err()
}

fn unknown_result(reference: &results::Reference, tasks: &BTreeMap<&str, &Task>) -> Option<String> {
    let Some(producer) = tasks.get(reference.task.as_str()) else {
        return Some(format!("referenced pipeline task {:?} does not exist", reference.task));
    };
    if producer.kind != Kind::Task {
        return None;
    }
    let known = list(&producer.spec, "results").iter().any(|r| text(r, "name") == reference.result);
    (!known).then(|| {
        format!("{:?} is not a named result returned by pipeline task {:?}", reference.result, reference.task)
    })
}

fn required_but_optional(spec: &Value, tasks: &[Task]) -> Option<String> {
    let optional: Vec<_> =
        list(spec, "workspaces").iter().filter(|w| w["optional"] == true).map(|w| text(w, "name")).collect();
    tasks.iter().filter(|t| t.kind == Kind::Task).find_map(|task| {
        list(&task.entry, "workspaces").iter().find_map(|binding| {
            let outer = match text(binding, "workspace") {
                "" => text(binding, "name"),
                name => name,
            };
            let inner = list(&task.spec, "workspaces").iter().find(|w| w["name"] == binding["name"])?;
            (optional.contains(&outer) && inner["optional"] != true && !is_empty(binding, "name")).then(|| {
                format!(
                    "pipeline workspace {outer:?} is marked optional but pipeline task {:?} requires it be provided",
                    task.name
                )
            })
        })
    })
}
