//! One step, from its turn to its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::child::{self, End, Program};
use crate::credentials;
use crate::flags::Flags;
use crate::message::{MESSAGE_MAX, Message, kind};
use crate::references;
use crate::wait::{Turn, turn};

const RESULTS: &str = "/tekton/results";
/// Where scripts are placed.
const SCRIPTS: &str = "/tekton/scripts/";
const TASK_ARTIFACTS: &str = "/tekton/artifacts/provenance.json";

/// Runs the step and returns the exit code of the container.
pub fn run(flags: &Flags) -> u8 {
    child::end_on_signals();
    let own = &flags.step_metadata_dir;
    if !own.is_empty() {
        for folder in ["results", "artifacts"] {
            let _ = fs::create_dir_all(format!("{own}/{folder}"));
        }
    }
    let mut message = Message::default();
    for file in &flags.wait_files {
        if turn(file, flags.wait_content, flags.breakpoint_on_failure) == Turn::Skip {
            post(&flags.post_file, ".err");
            message.add("StartedAt", &now(), kind::INTERNAL);
            message.add("Reason", "Skipped", kind::INTERNAL);
            return written(&message, flags, 1);
        }
    }
    if flags.debug_before_step && !before_step(flags) {
        post(&flags.post_file, ".err");
        return 1;
    }
    credentials::place(&flags.credentials, credentials::home().as_deref());
    message.add("StartedAt", &now(), kind::INTERNAL);
    let code = match prepared(flags) {
        Ok(Some((words, env))) => perform(flags, &words, &env, &mut message),
        Ok(None) => {
            message.add("Reason", "Skipped", kind::INTERNAL);
            exit_code(flags, "0");
            post(&flags.post_file, "");
            0
        }
        Err(error) => {
            eprintln!("entrypoint: {error}");
            post(&flags.post_file, ".err");
            1
        }
    };
    collect(flags, &mut message);
    written(&message, flags, code)
}

/// Program and variables of the step; `None` when its when expressions say no.
type Prepared = Option<(Vec<String>, Vec<(String, String)>)>;

fn prepared(flags: &Flags) -> Result<Prepared, String> {
    if let Some(text) = &flags.when
        && !holds(text)?
    {
        return Ok(None);
    }
    let mut words = Vec::new();
    if flags.entrypoint.is_empty() {
        words.extend(platform_command()?);
    } else {
        words.extend(references::expand(&script(flags)?)?);
    }
    for argument in &flags.args {
        words.extend(references::expand(argument)?);
    }
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os() {
        // What is not UTF-8 holds no reference, and is passed on as it is.
        if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string())
            && value.contains("$(steps.")
        {
            env.push((name, references::replace(&value)?));
        }
    }
    Ok(Some((words, env)))
}

/// The step's program; a script that refers to artifacts of earlier steps is written anew, with their values.
fn script(flags: &Flags) -> Result<String, String> {
    let program = &flags.entrypoint;
    if !program.starts_with(SCRIPTS) || flags.step_metadata_dir.is_empty() {
        return Ok(program.clone());
    }
    // What cannot be read, or is no text, refers to nothing.
    let Ok(text) = fs::read_to_string(program) else { return Ok(program.clone()) };
    let replaced = references::replace_artifacts(&text)?;
    if replaced == text {
        return Ok(program.clone());
    }
    let path = format!("{}/script", flags.step_metadata_dir);
    let written = fs::write(&path, replaced)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
    written.map_err(|e| format!("cannot write {path}: {e}"))?;
    Ok(path)
}

/// Command of the image for this platform, found out when the Pod was built.
fn platform_command() -> Result<Vec<String>, String> {
    #[allow(clippy::disallowed_methods, reason = "this program is configured by its container")]
    let text = std::env::var("TEKTON_PLATFORM_COMMANDS").unwrap_or_default();
    let all: Value = serde_json::from_str(&text).map_err(|_| "the step names no program".to_owned())?;
    let platform = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };
    let words = all.get(platform).or_else(|| all.get(format!("{platform}/v8")));
    let words = words.ok_or_else(|| format!("the image has no program for {platform}"))?;
    Ok(words.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn holds(text: &str) -> Result<bool, String> {
    let all: Vec<Value> =
        serde_json::from_str(text).map_err(|e| format!("when expressions cannot be read: {e}"))?;
    for when in &all {
        let input = references::replace(when["input"].as_str().unwrap_or(""))?;
        let mut values = Vec::new();
        for value in when["values"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            values.extend(references::expand(value)?);
        }
        let among = values.contains(&input);
        if among != (when["operator"] == "in") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn perform(flags: &Flags, words: &[String], env: &[(String, String)], message: &mut Message) -> u8 {
    let program = Program {
        words,
        env,
        timeout: flags.timeout,
        stdout: flags.stdout_path.as_deref(),
        stderr: flags.stderr_path.as_deref(),
    };
    let end = child::run(&program);
    match &end {
        End::Exited(0) => {
            exit_code(flags, "0");
            post(&flags.post_file, "");
            0
        }
        End::Exited(_) | End::Signalled if flags.breakpoint_on_failure => {
            wait_for_a_person(flags, end.code())
        }
        End::Exited(_) | End::Signalled if flags.continue_on_error => {
            // A program without an exit code has this one there.
            let code = if end == End::Signalled { "-1".to_owned() } else { end.code().to_string() };
            message.add("ExitCode", &code, kind::INTERNAL);
            exit_code(flags, &code);
            post(&flags.post_file, "");
            0
        }
        End::Exited(_) | End::Signalled => {
            post(&flags.post_file, ".err");
            end.code()
        }
        End::TimedOut => {
            message.add("Reason", "TimeoutExceeded", kind::INTERNAL);
            post(&flags.post_file, ".err");
            1
        }
        End::Cancelled => {
            message.add("Reason", "Cancelled", kind::INTERNAL);
            exit_code(flags, "killed");
            post(&flags.post_file, ".err");
            9
        }
        End::NotStarted(why) => {
            eprintln!("entrypoint: {why}");
            post(&flags.post_file, ".err");
            1
        }
    }
}

/// A person looks at the failure and writes what to return.
fn wait_for_a_person(flags: &Flags, code: u8) -> u8 {
    let file = format!("{}.breakpointexit", flags.post_file);
    child::allow_signals();
    turn(&file, true, false);
    let text = fs::read_to_string(&file).unwrap_or_default();
    text.trim().parse().unwrap_or(code)
}

fn before_step(flags: &Flags) -> bool {
    let file = format!("{}.beforestepexit", flags.post_file);
    turn(&file, true, false);
    fs::read_to_string(&file).is_ok_and(|text| text.trim() == "0")
}

/// Results and artifacts, whatever the outcome.
fn collect(flags: &Flags, message: &mut Message) {
    if flags.result_from != "sidecar-logs" {
        message.add_files(RESULTS, &flags.results, kind::TASK_RESULT);
        message.add_files(
            &format!("{}/results", flags.step_metadata_dir),
            &flags.step_results,
            kind::STEP_RESULT,
        );
    }
    let own = format!("{}/artifacts/provenance.json", flags.step_metadata_dir);
    for (file, kind) in [(own.as_str(), kind::STEP_ARTIFACTS), (TASK_ARTIFACTS, kind::TASK_ARTIFACTS)] {
        if let Ok(text) = fs::read_to_string(file) {
            message.add(file, &text, kind);
        }
    }
}

fn written(message: &Message, flags: &Flags, code: u8) -> u8 {
    // An agent that reads the message itself takes more than Kubernetes does.
    let max = flags.message_max.unwrap_or(MESSAGE_MAX);
    match message.write(&flags.termination_path, flags.compress, max) {
        Ok(()) => code,
        Err(error) => {
            eprintln!("entrypoint: {error}");
            1
        }
    }
}

/// Tells the next step to go, or (with `.err`) not to.
fn post(file: &str, suffix: &str) {
    if file.is_empty() {
        return;
    }
    let file = format!("{file}{suffix}");
    if let Some(folder) = Path::new(&file).parent() {
        let _ = fs::create_dir_all(folder);
    }
    if let Err(error) = fs::write(&file, "") {
        eprintln!("entrypoint: cannot write {file}: {error}");
    }
}

fn exit_code(flags: &Flags, text: &str) {
    if !flags.step_metadata_dir.is_empty() {
        let _ = fs::write(format!("{}/exitCode", flags.step_metadata_dir), text);
    }
}

/// `2030-01-01T00:00:00.000Z`
fn now() -> String {
    #[allow(clippy::disallowed_methods, reason = "this program has no seams: it runs alone in a container")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs() as i64, since.subsec_millis());
    // SAFETY: all-zero is a valid tm; gmtime_r fills it.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    unsafe { libc::gmtime_r(&raw const seconds, &raw mut parts) };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        parts.tm_year + 1900,
        parts.tm_mon + 1,
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec,
    )
}
