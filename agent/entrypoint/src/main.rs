//! The program that runs each step of a TaskRun inside its container: it waits for its turn, runs the step's
//! command, and tells how it ended. Flag-compatible with Tekton's own entrypoint.
//!
//! **For:** the containers of a Pod; placed there by the agent (or copied by `init`).
//! **May use:** no crate of ours; static, so that it runs in any image, `scratch` included, as any user.
//! **Invariants:** what a later step reads is complete before the file that tells it to go appears; waiting is by
//! inotify, with a slow look as a safety net; whatever happens, the post file or its `.err` is written.
//! **Read in this order:** [`flags`], [`run`], [`wait`], [`child`], [`message`].

mod child;
mod credentials;
mod flags;
mod message;
mod references;
mod run;
mod tools;
mod wait;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["init", source, target, steps @ ..] => tools::init(source, target, steps),
        ["cp", source, target] => tools::copy(source, target),
        ["decode-script", file] => tools::decode_script(file),
        ["step-init", steps @ ..] => tools::links(steps),
        _ => {
            return match flags::Flags::parse(&arguments) {
                Ok(flags) => ExitCode::from(run::run(&flags)),
                Err(error) => {
                    eprintln!("entrypoint: {error}");
                    ExitCode::from(2)
                }
            };
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("entrypoint: {error}");
            ExitCode::FAILURE
        }
    }
}
