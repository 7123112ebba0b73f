//! A git server: repositories made anew with content of ours, over git's own protocol on HTTP.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::io::AsyncWriteExt;

use super::web::CATALOG;
use crate::images::run_command;

/// Longest request: what a client already has.
const BODY_MAX: usize = 1 << 20;
const DOCKERFILE: &str = "FROM scratch\nCOPY main.go /src/\nENTRYPOINT [\"/src/main.go\"]\n";
const README: &str = "A stand-in for the repository of this name.\n";

/// Paths with their content.
type Files = &'static [(&'static str, &'static str)];

/// Repositories, with their branch and files.
const REPOSITORIES: [(&str, &str, Files); 5] = [
    ("tektoncd/catalog", "main", &CATALOG),
    ("tektoncd/community", "main", &[("README.md", README)]),
    ("tektoncd/pipeline", "main", &[("README.md", README)]),
    ("kelseyhightower/nocode", "master", &[("README.md", README)]),
    (
        "GoogleContainerTools/skaffold",
        "main",
        &[
            ("README.md", README),
            ("examples/getting-started/Dockerfile", DOCKERFILE),
            ("examples/getting-started/main.go", "package main\n"),
        ],
    ),
];

/// The server.
pub struct Git {
    dir: PathBuf,
}

impl Git {
    /// Makes the repositories in `dir`.
    pub fn start(dir: &Path) -> Result<Self> {
        for (name, branch, files) in REPOSITORIES {
            let place = dir.join(name);
            for (path, text) in files {
                let file = place.join(path);
                fs::create_dir_all(file.parent().unwrap_or(&place))?;
                fs::write(file, text)?;
            }
            git(&place, &["init", "--quiet", &format!("--initial-branch={branch}")])?;
            git(&place, &["add", "--all"])?;
            git(&place, &["commit", "--quiet", "--message=stand-in"])?;
            // Clients may ask for a commit by its digest.
            git(&place, &["config", "uploadpack.allowAnySHA1InWant", "true"])?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Answers one request of git's smart protocol.
    pub async fn answer(&self, request: Request) -> Response {
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default());
        let version = request.headers().get("git-protocol").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let asks = request.method() == Method::GET && query.contains("service=git-upload-pack");
        let (repository, advertise) =
            match (path.strip_suffix("/info/refs"), path.strip_suffix("/git-upload-pack")) {
                (Some(repository), _) if asks => (repository, true),
                (_, Some(repository)) if request.method() == Method::POST => (repository, false),
                _ => return (StatusCode::NOT_FOUND, "only git-upload-pack is served").into_response(),
            };
        let name = repository.trim_matches('/').trim_end_matches(".git");
        if !REPOSITORIES.iter().any(|(known, _, _)| *known == name) {
            return (StatusCode::NOT_FOUND, format!("nobody stands in for {name}")).into_response();
        }
        let packed = request.headers().get(header::CONTENT_ENCODING).is_some_and(|e| e == "gzip");
        let Ok(body) = to_bytes(request.into_body(), BODY_MAX).await else {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        };
        let body = if packed { unpacked(&body) } else { Ok(body.to_vec()) };
        let said = match body {
            Ok(body) => upload_pack(&self.dir.join(name), advertise, version.as_deref(), &body).await,
            Err(error) => Err(error.into()),
        };
        let kind = if advertise { "advertisement" } else { "result" };
        match said {
            Ok(bytes) => (
                [
                    (header::CONTENT_TYPE, format!("application/x-git-upload-pack-{kind}")),
                    (header::CACHE_CONTROL, "no-cache".to_owned()),
                ],
                Body::from(bytes),
            )
                .into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
        }
    }
}

fn unpacked(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let limited = std::io::Read::take(flate2::read::GzDecoder::new(body), BODY_MAX as u64);
    std::io::copy(&mut { limited }, &mut out)?;
    Ok(out)
}

async fn upload_pack(place: &Path, advertise: bool, version: Option<&str>, body: &[u8]) -> Result<Vec<u8>> {
    let mut command = tokio::process::Command::new("git");
    command.args(["upload-pack", "--stateless-rpc"]);
    if advertise {
        command.arg("--advertise-refs");
    }
    command.arg(place.join(".git")).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    if let Some(version) = version {
        command.env("GIT_PROTOCOL", version);
    }
    let mut child = command.spawn().context("cannot run git")?;
    if let Some(mut input) = child.stdin.take() {
        // It may end before it has read everything.
        let _ = input.write_all(body).await;
    }
    let said = child.wait_with_output().await?.stdout;
    let mut out = Vec::new();
    if advertise && version.is_none_or(|version| !version.contains("version=2")) {
        out.extend(b"001e# service=git-upload-pack\n0000");
    }
    out.extend(said);
    Ok(out)
}

fn git(dir: &Path, words: &[&str]) -> Result<()> {
    fs::create_dir_all(dir)?;
    let who = ["-c", "user.name=cella", "-c", "user.email=cella@localhost", "-c", "commit.gpgsign=false"];
    run_command(Command::new("git").current_dir(dir).args(who).args(words))
}
