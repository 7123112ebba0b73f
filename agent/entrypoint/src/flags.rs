//! The command line, as Go's flag package reads it: one or two dashes, `-name value` or `-name=value`; everything
//! after `--` belongs to the step.

use std::time::Duration;

/// The settings of one step.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Program of the step; empty when the image's own is to be found by platform.
    pub entrypoint: String,
    /// Arguments of the program.
    pub args: Vec<String>,
    /// Files to wait for.
    pub wait_files: Vec<String>,
    /// They must have content.
    pub wait_content: bool,
    /// File that tells the next step to go.
    pub post_file: String,
    /// Where the termination message goes.
    pub termination_path: String,
    /// Folder of this step's own results and exit code.
    pub step_metadata_dir: String,
    /// Results of the task, by name.
    pub results: Vec<String>,
    /// Results of the step, by name.
    pub step_results: Vec<String>,
    /// Longest time that the program may run.
    pub timeout: Option<Duration>,
    /// A failure does not stop the task.
    pub continue_on_error: bool,
    /// Files that get a copy of the outputs.
    pub stdout_path: Option<String>,
    /// See `stdout_path`.
    pub stderr_path: Option<String>,
    /// JSON list of when expressions.
    pub when: Option<String>,
    /// A failing step waits for a person.
    pub breakpoint_on_failure: bool,
    /// The step waits for a person before it begins.
    pub debug_before_step: bool,
    /// `sidecar-logs`: results are read by somebody else; `agent`: by the agent, which takes `message_max` bytes.
    pub result_from: String,
    /// Longest termination message; Kubernetes' limit when absent.
    pub message_max: Option<usize>,
    /// Compress the termination message when that makes it smaller.
    pub compress: bool,
    /// Credentials to place, as flag and value.
    pub credentials: Vec<(String, String)>,
}

const SWITCHES: [&str; 5] = [
    "wait_file_content",
    "breakpoint_on_failure",
    "debug_before_step",
    "enable_spire",
    "compress_termination_message",
];

impl Flags {
    /// Reads the command line.
    ///
    /// # Errors
    /// Names the flag that is unknown, lacks its value or has a wrong one.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut flags = Self { termination_path: "/tekton/termination".into(), ..Self::default() };
        let mut rest = arguments.iter();
        while let Some(word) = rest.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                flags.args.push(word.clone());
                break;
            };
            if flag.is_empty() {
                break;
            }
            let (name, inline) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let value = match inline {
                Some(value) => value,
                None if SWITCHES.contains(&name) => "true".into(),
                None => rest.next().cloned().ok_or_else(|| format!("flag -{name} needs a value"))?,
            };
            flags.set(name, value)?;
        }
        flags.args.extend(rest.cloned());
        Ok(flags)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let list = |value: &str| value.split(',').filter(|v| !v.is_empty()).map(str::to_owned).collect();
        let on = value == "true";
        match name {
            "entrypoint" => self.entrypoint = value,
            "wait_file" => self.wait_files = list(&value),
            "wait_file_content" => self.wait_content = on,
            "post_file" => self.post_file = value,
            "termination_path" => self.termination_path = value,
            "step_metadata_dir" => self.step_metadata_dir = value,
            "results" => self.results = list(&value),
            "step_results" => self.step_results = list(&value),
            "timeout" => self.timeout = duration(&value)?,
            "on_error" => self.continue_on_error = value == "continue",
            "stdout_path" => self.stdout_path = Some(value),
            "stderr_path" => self.stderr_path = Some(value),
            "when_expressions" => self.when = Some(value),
            "breakpoint_on_failure" => self.breakpoint_on_failure = on,
            "debug_before_step" => self.debug_before_step = on,
            "result_from" => self.result_from = value,
            "message_max" => {
                let number = || format!("flag -message_max: {value:?} is no number of bytes");
                self.message_max = Some(value.parse().map_err(|_| number())?);
            }
            "compress_termination_message" => self.compress = on,
            // There is no socket to speak to; the Pod says so by waiting for its volume.
            "enable_spire" | "socket_path" => {}
            "basic-git" | "ssh-git" | "basic-docker" | "docker-config" | "docker-cfg" => {
                self.credentials.push((name.to_owned(), value));
            }
            _ => return Err(format!("flag provided but not defined: -{name}")),
        }
        Ok(())
    }
}

/// A Go duration; zero is none.
fn duration(text: &str) -> Result<Option<Duration>, String> {
    let wrong = || format!("flag -timeout: {text:?} is no duration; write for example 1h30m or 10s");
    let (mut rest, mut seconds) = (text, 0.0);
    if rest == "0" {
        return Ok(None);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let units =
            [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(wrong)?;
        seconds += number * factor;
        rest = &rest[unit.len()..];
    }
    Ok((seconds > 0.0).then(|| Duration::from_secs_f64(seconds)))
}

#[cfg(test)]
mod tests;
