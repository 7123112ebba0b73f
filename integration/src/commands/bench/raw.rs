//! Containers by the low-level runtime alone: what `steps` is compared with.
//!
//! The containers are those of a real pod: their specifications are read from the supervisor while the pod runs, and
//! only the program is another one (`true` itself instead of the entrypoint that orders steps) and what is mounted
//! into them is empty. Root file systems are overlays on the disk, as the pod's are. libcontainer forks and must be
//! called from a process with one thread, so `x` executes itself for this.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::mount::{MsFlags, mount, umount};
use nix::sys::wait::waitpid;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Bench, taskrun};
use crate::commands::Clock;

/// Image of the measured steps.
const IMAGE: &str = "docker.io/library/busybox";

/// The specifications of the step containers of a TaskRun of `count` steps, as they run on `bench`.
pub async fn specifications(bench: &Bench, count: usize) -> Result<Vec<Value>> {
    bench.create("taskruns", &taskrun("raw", count, &["sleep", "1"])).await?;
    for _ in 0..200 {
        bench.host.clock.sleep(std::time::Duration::from_millis(20)).await;
        let found = running(count)?;
        if found.len() == count {
            let name = "/apis/tekton.dev/v1/namespaces/default/taskruns/raw";
            bench.client.json(http::Method::DELETE, name, None).await?;
            return Ok(found);
        }
    }
    bail!("the steps of a running pod are not found")
}

/// Reads the bundles of the supervisor that has `count` steps, in its own view of the file system.
fn running(count: usize) -> Result<Vec<Value>> {
    for process in fs::read_dir("/proc")?.flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if !command.split(|b| *b == 0).any(|word| word == b"supervisor") {
            continue;
        }
        let mounts = fs::read_to_string(process.path().join("mounts")).unwrap_or_default();
        let roots = mounts.lines().filter_map(|line| line.split(' ').nth(1)?.strip_suffix("/rootfs"));
        let step = |bundle: &&str| bundle.rsplit('/').next().is_some_and(|id| id.contains("step-s"));
        let bundles = roots.filter(step).map(|bundle| {
            let path = process.path().join("root").join(bundle.trim_start_matches('/')).join("config.json");
            Ok(serde_json::from_slice(&fs::read(path)?)?)
        });
        let found: Vec<Value> = bundles.collect::<Result<_>>().unwrap_or_default();
        if found.len() == count {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// [`measure`] in a process of its own, which does a round whenever it is asked.
pub struct Raw {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    _folder: TempDir,
}

impl Raw {
    /// Makes everything ready for rounds of `containers`.
    pub fn new(images: &Path, containers: &[Value]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let list = folder.path().join("containers.json");
        fs::write(&list, serde_json::to_vec(containers)?)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("raw").arg(&list).arg(images).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let ask = process.stdin.take().context("no stdin")?;
        let answers = BufReader::new(process.stdout.take().context("no stdout")?);
        Ok(Self { process, ask, answers, _folder: folder })
    }

    /// One round: ms for all containers, one after another.
    pub fn round(&mut self) -> Result<f64> {
        self.ask.write_all(b"\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().context("the raw containers failed")
    }

    /// Ends the process.
    pub fn end(self) -> Result<()> {
        let Self { mut process, ask, .. } = self;
        drop(ask);
        ensure!(process.wait()?.success(), "the raw containers failed");
        Ok(())
    }
}

/// For each line that comes in: creates, starts, waits for and deletes the containers whose specifications `list` has,
/// one after another, and prints how many ms that took.
///
/// # Errors
/// What the runtime says.
pub fn measure(list: &Path, images: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut containers: Vec<Value> = serde_json::from_slice(&fs::read(list)?)?;
    for container in &mut containers {
        adapt(container, folder.path())?;
    }
    unpack(images, &folder.path().join("image"))?;
    // Containers outlive the process between us and them.
    nix::sys::prctl::set_child_subreaper(true)?;
    for (round, line) in std::io::stdin().lines().enumerate() {
        line?;
        let began = Clock::now();
        for (n, container) in containers.iter_mut().enumerate() {
            one(folder.path(), &format!("raw-{}-{round}-{n}", std::process::id()), container)?;
        }
        println!("{:.1}", began.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(())
}

/// Makes a pod's container one that can stand alone: `true` runs in it, and each of its bind mounts has a source.
fn adapt(container: &mut Value, folder: &Path) -> Result<()> {
    container["process"]["args"] = json!(["true"]);
    for (n, entry) in container["mounts"].as_array_mut().into_iter().flatten().enumerate() {
        if entry["type"] != "bind" {
            continue;
        }
        let destination = entry["destination"].as_str().unwrap_or_default().to_owned();
        let file = destination.starts_with("/etc/") || destination.ends_with("termination");
        let source = folder.join(format!("source-{n}"));
        match file || destination == "/dev/termination-log" {
            true => fs::write(&source, "")?,
            false => fs::create_dir_all(&source)?,
        }
        entry["source"] = json!(source);
    }
    Ok(())
}

fn one(folder: &Path, id: &str, container: &mut Value) -> Result<()> {
    let bundle = folder.join(id);
    let (root, upper, work) = (bundle.join("rootfs"), bundle.join("upper"), bundle.join("work"));
    [&root, &upper, &work].into_iter().try_for_each(fs::create_dir_all)?;
    let image = folder.join("image");
    let layers =
        format!("lowerdir={},upperdir={},workdir={}", image.display(), upper.display(), work.display());
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::MS_NODEV, Some(layers.as_str()))?;
    if !container["linux"]["cgroupsPath"].is_null() {
        container["linux"]["cgroupsPath"] = json!(format!("/cella-raw/{id}"));
    }
    fs::write(bundle.join("config.json"), container.to_string())?;
    let builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(folder.join("state"))?
        .with_stdout(OwnedFd::from(File::options().write(true).open("/dev/null")?))
        .validate_id()?;
    let mut container =
        builder.as_init(&bundle).with_systemd(false).with_detach(true).as_sibling(false).build()?;
    container.start()?;
    let pid = container.pid().context("the container has no process")?;
    waitpid(nix::unistd::Pid::from_raw(pid.as_raw()), None)?;
    container.delete(true)?;
    umount(&root)?;
    Ok(())
}

/// Unpacks the image from a layout of ours, whose images have one layer.
fn unpack(images: &Path, root: &Path) -> Result<()> {
    let json = |path: &Path| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    let blob = |descriptor: &Value| -> Result<PathBuf> {
        let digest = descriptor["digest"].as_str().context("a descriptor has no digest")?;
        Ok(images.join("blobs").join(digest.replace(':', "/")))
    };
    let index = json(&images.join("index.json"))?;
    let mut entries = index["manifests"].as_array().into_iter().flatten();
    let name = format!("{IMAGE}:latest");
    let entry = entries.find(|e| e["annotations"]["org.opencontainers.image.ref.name"] == name.as_str());
    let manifest = json(&blob(entry.context("the layout has no busybox")?)?)?;
    let mut plain = Vec::new();
    GzDecoder::new(File::open(blob(&manifest["layers"][0])?)?).read_to_end(&mut plain)?;
    tar::Archive::new(plain.as_slice()).unpack(root)?;
    Ok(())
}
