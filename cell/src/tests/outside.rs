//! Servers that stand in for the world, on sockets of this host: git (by git's own `http-backend`), a registry, a hub,
//! a forge, a web server that wants a password.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::host::Host;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use ring::digest;
use serde_json::{Value, json};

use crate::resolve::ask::hex;

/// A server; stops with its host's jobs.
pub(super) struct Server {
    /// `127.0.0.1:PORT`.
    pub(super) at: String,
    /// Requests that it was sent.
    pub(super) asked: Arc<AtomicUsize>,
}

async fn serve(host: &Host, router: Router) -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let router = router.layer(axum::middleware::map_request(move |request: Request| {
        counter.fetch_add(1, Ordering::Relaxed);
        async move { request }
    }));
    let (clock, jobs) = (host.clock.clone(), host.jobs.clone());
    host.spawn("stand-in", async move { base::serve::plain(listener, router, clock, jobs).await.unwrap() });
    Server { at, asked }
}

/// A Task of one step that says `word`.
pub(super) fn task(name: &str, word: &str) -> String {
    format!(
        "apiVersion: tekton.dev/v1\nkind: Task\nmetadata:\n  name: {name}\nspec:\n  steps:\n  - name: say\n    image: busybox\n    script: echo {word}\n"
    )
}

/// A Pipeline of one such task.
pub(super) fn pipeline(name: &str) -> String {
    format!(
        "apiVersion: tekton.dev/v1\nkind: Pipeline\nmetadata:\n  name: {name}\nspec:\n  tasks:\n  - name: only\n    taskSpec:\n      steps:\n      - name: say\n        image: busybox\n        script: echo piped\n"
    )
}

/// A StepAction.
pub(super) fn action(name: &str) -> String {
    format!(
        "apiVersion: tekton.dev/v1beta1\nkind: StepAction\nmetadata:\n  name: {name}\nspec:\n  image: busybox\n  script: echo acted\n"
    )
}

/// Files by path; those below `/private/` want user `u` and password `p`; `/slow` never answers.
pub(super) async fn web(host: &Host, files: BTreeMap<String, String>) -> Server {
    async fn file(State(files): State<Arc<BTreeMap<String, String>>>, request: Request) -> Response {
        let path = request.uri().path();
        if path == "/slow" {
            std::future::pending::<()>().await;
        }
        let login = format!("Basic {}", STANDARD.encode("u:p"));
        let shown = request.headers().get(header::AUTHORIZATION).is_some_and(|value| value == &login);
        match files.get(path) {
            Some(_) if path.starts_with("/private/") && !shown => StatusCode::UNAUTHORIZED.into_response(),
            Some(text) => text.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }
    serve(host, Router::new().fallback(file).with_state(Arc::new(files))).await
}

/// An Artifact Hub with one package `say` of each kind in two versions, and a Tekton Hub with one of kind `task`.
pub(super) async fn hub(host: &Host, texts: BTreeMap<&'static str, String>) -> Server {
    async fn answer(State(texts): State<Arc<BTreeMap<&'static str, String>>>, request: Request) -> Response {
        let parts: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        let text = |kind: &str| texts.get(kind.trim_start_matches("tekton-")).cloned();
        let body = match parts[..] {
            ["api", "v1", "packages", kind, _, "say"] if text(kind).is_some() => {
                json!({"available_versions": [{"version": "0.1.0"}, {"version": "0.2.0"}]})
            }
            ["api", "v1", "packages", kind, _, "say", "0.2.0"] => {
                json!({"data": {"manifestRaw": text(kind)}})
            }
            ["v1", "resource", "Tekton", "task", "say"] => {
                json!({"data": {"versions": [{"version": "0.3"}]}})
            }
            ["v1", "resource", "Tekton", "task", "say", "0.3", "yaml"] => {
                json!({"data": {"yaml": text("task")}})
            }
            _ => return StatusCode::NOT_FOUND.into_response(),
        };
        axum::Json(body).into_response()
    }
    serve(host, Router::new().fallback(answer).with_state(Arc::new(texts))).await
}

/// A Gitea with one file of one repository, which wants token `t`.
pub(super) async fn forge(host: &Host, text: String) -> Server {
    async fn answer(State(text): State<Arc<String>>, request: Request) -> Response {
        if request.headers().get(header::AUTHORIZATION).is_none_or(|value| value != "token t") {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let body = match request.uri().path() {
            "/api/v1/repos/o/r/contents/a/task.yaml" => {
                json!({"content": STANDARD.encode(&*text), "encoding": "base64", "path": "a/task.yaml"})
            }
            "/api/v1/repos/o/r/git/commits/main" => json!({"sha": "c".repeat(40)}),
            "/api/v1/repos/o/r" => json!({"clone_url": "https://forge.example/o/r.git"}),
            _ => return StatusCode::NOT_FOUND.into_response(),
        };
        axum::Json(body).into_response()
    }
    serve(host, Router::new().fallback(answer).with_state(Arc::new(text))).await
}

/// A registry with one bundle, which wants a token that user `u` with password `p` gets.
pub(super) async fn registry(host: &Host, entries: &[(&str, &str, String)]) -> (Server, String) {
    let sum = |bytes: &[u8]| format!("sha256:{}", hex(digest::digest(&digest::SHA256, bytes).as_ref()));
    let mut blobs = BTreeMap::new();
    let mut layers = Vec::new();
    for (kind, name, text) in entries {
        let mut archive = tar::Builder::new(Vec::new());
        let mut head = tar::Header::new_gnu();
        head.set_size(text.len() as u64);
        head.set_mode(0o644);
        archive.append_data(&mut head, name, text.as_bytes()).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &archive.into_inner().unwrap()).unwrap();
        let blob = gzip.finish().unwrap();
        layers.push(json!({"digest": sum(&blob), "annotations": {
            "dev.tekton.image.kind": kind, "dev.tekton.image.name": name, "dev.tekton.image.apiVersion": "v1"}}));
        blobs.insert(sum(&blob), blob);
    }
    let manifest = json!({"schemaVersion": 2, "layers": layers}).to_string().into_bytes();
    let digest = sum(&manifest);
    blobs.insert(digest.clone(), manifest.clone());
    blobs.insert("latest".into(), manifest);
    async fn answer(State(blobs): State<Arc<BTreeMap<String, Vec<u8>>>>, request: Request) -> Response {
        let shown = |value: &str| request.headers().get(header::AUTHORIZATION).is_some_and(|v| v == value);
        let host = request.headers()[header::HOST].to_str().unwrap();
        if request.uri().path() == "/token" {
            return match shown(&format!("Basic {}", STANDARD.encode("u:p"))) {
                true => axum::Json(json!({"token": "good"})).into_response(),
                false => StatusCode::UNAUTHORIZED.into_response(),
            };
        }
        if !shown("Bearer good") {
            let asks = format!(
                "Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:bundle:pull\""
            );
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, asks)]).into_response();
        }
        let name = request.uri().path().rsplit('/').next().unwrap();
        blobs.get(name).map_or_else(|| StatusCode::NOT_FOUND.into_response(), |b| b.clone().into_response())
    }
    (serve(host, Router::new().fallback(answer).with_state(Arc::new(blobs))).await, digest)
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(["-c", "user.name=a", "-c", "user.email=a@example"]).args(arguments);
    let output = command.env("GIT_CONFIG_NOSYSTEM", "1").output().expect("git is installed");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Makes a repository with two commits, a branch, an annotated tag and links. Gives the ids of both commits.
pub(super) fn repository(dir: &Path) -> [String; 2] {
    std::fs::create_dir_all(dir.join("tasks/deep")).unwrap();
    git(dir, &["init", "-q", "-b", "main"]);
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write("tasks/deep/say.yaml", &task("said", "first"));
    write("tasks/action.yaml", &action("acts"));
    write("pipeline.yaml", &pipeline("piped"));
    write("long.txt", &"a line that makes deltas worth their while\n".repeat(500));
    std::os::unix::fs::symlink("deep/say.yaml", dir.join("tasks/link.yaml")).unwrap();
    std::os::unix::fs::symlink("tasks/deep", dir.join("folder")).unwrap();
    std::os::unix::fs::symlink("../../etc/passwd", dir.join("tasks/out.yaml")).unwrap();
    git(dir, &["add", "."]);
    git(dir, &["commit", "-q", "-m", "first"]);
    let first = git(dir, &["rev-parse", "HEAD"]);
    git(dir, &["tag", "-a", "v1", "-m", "a tag"]);
    write("tasks/deep/say.yaml", &task("said", "second"));
    git(dir, &["commit", "-q", "-am", "second"]);
    git(dir, &["branch", "feature/x"]);
    [first, git(dir, &["rev-parse", "HEAD"])]
}

/// Serves the repositories below `root` by git's own backend; those whose path begins with `private` want password
/// `t` of user `git`.
pub(super) async fn git_server(host: &Host, root: &Path, filter: bool) -> Server {
    struct Shared {
        root: std::path::PathBuf,
        filter: bool,
    }
    async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let login = format!("Basic {}", STANDARD.encode("git:t"));
        let shown = parts.headers.get(header::AUTHORIZATION).is_some_and(|value| value == &login);
        if parts.uri.path().starts_with("/private") && !shown {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let body = body.collect().await.unwrap().to_bytes();
        let text = |name: &str, headers: &HeaderMap| {
            headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let mut command = Command::new("git");
        command.args(["-c", &format!("uploadpack.allowFilter={}", shared.filter), "-c", "safe.directory=*"]);
        command.arg("http-backend").env("GIT_PROJECT_ROOT", &shared.root).env("GIT_HTTP_EXPORT_ALL", "1");
        command.env("PATH_INFO", parts.uri.path()).env("QUERY_STRING", parts.uri.query().unwrap_or(""));
        command.env("REQUEST_METHOD", parts.method.as_str());
        command.env("CONTENT_TYPE", text("content-type", &parts.headers));
        command.env("GIT_PROTOCOL", text("git-protocol", &parts.headers));
        command.env("CONTENT_LENGTH", body.len().to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let output = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), &body).unwrap();
            child.wait_with_output().unwrap().stdout
        });
        cgi(output.await.unwrap())
    }
    let shared = Shared { root: root.to_owned(), filter };
    serve(host, Router::new().fallback(answer).with_state(Arc::new(shared))).await
}

/// The answer of a program that speaks CGI.
fn cgi(output: Vec<u8>) -> Response {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").expect("it has a head");
    let head = String::from_utf8(output[..end].to_vec()).unwrap();
    let mut response = Response::new(axum::body::Body::from(Bytes::from(output[end + 4..].to_vec())));
    for line in head.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            let code = value.split(' ').next().unwrap().parse().unwrap();
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
        } else {
            let name: header::HeaderName = name.parse().unwrap();
            response.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    response
}

/// A Secret of these values.
pub(super) fn secret(name: &str, values: &[(&str, &str)]) -> Value {
    let data: BTreeMap<&str, String> = values.iter().map(|(k, v)| (*k, STANDARD.encode(v))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})
}
