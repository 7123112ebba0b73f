//! `cargo verify`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match integration::commands::verify::run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("verify: {error:#}");
            ExitCode::FAILURE
        }
    }
}
