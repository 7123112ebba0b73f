//! Container output as log files in the CRI format, one file per container: `<time> stdout|stderr F|P <text>`.
//!
//! Written whether or not anybody reads, so that a step never waits for a slow consumer; read by offset, so that
//! sending can go on after any interruption.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::host::{Clock, Utc};
use k8s_openapi::jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::runtime::LogChunk;

/// Longest text in one entry; what is longer is split.
const ENTRY_MAX: usize = 16 << 10;
/// Most bytes that are read from a file at once.
const CHUNK_MAX: usize = 1 << 20;

/// Which output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// All logs of a pod.
pub struct Logs {
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    files: Mutex<BTreeMap<String, Log>>,
    grown: watch::Sender<u64>,
}

struct Log {
    file: Arc<File>,
    length: u64,
    /// Outputs that may still say something.
    open: u32,
}

impl Logs {
    /// No logs yet; files are made in `dir`.
    pub fn new(dir: PathBuf, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { dir, clock, files: Mutex::default(), grown: watch::Sender::new(0) })
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Log>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, or goes on with, the log of a container that gets `outputs` further outputs.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(&self, container: &str, outputs: u32) -> io::Result<()> {
        let mut files = self.files();
        if let Some(log) = files.get_mut(container) {
            log.open += outputs;
            return Ok(());
        }
        std::fs::create_dir_all(&self.dir)?;
        let path = self.dir.join(format!("{container}.log"));
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
        files.insert(container.to_owned(), Log { file: Arc::new(file), length: 0, open: outputs });
        Ok(())
    }

    /// Copies one output until it ends.
    pub async fn copy(self: Arc<Self>, container: String, stream: Stream, mut pipe: pipe::Receiver) {
        let mut lines = Lines::new(stream);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match pipe.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => length,
            };
            let mut entries = Vec::new();
            lines.take(&buffer[..length], self.clock.utc(), &mut entries);
            self.append(&container, &entries);
        }
        let mut entries = Vec::new();
        lines.finish(self.clock.utc(), &mut entries);
        self.append(&container, &entries);
        if let Some(log) = self.files().get_mut(&container) {
            log.open -= 1;
        }
        self.grown.send_modify(|n| *n += 1);
    }

    fn append(&self, container: &str, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        let mut files = self.files();
        let Some(log) = files.get_mut(container) else { return };
        // A full disk costs log lines, never the step.
        match log.file.write_all_at(entries, log.length) {
            Ok(()) => log.length += entries.len() as u64,
            Err(error) => tracing::warn!(container, %error, "log lines are lost"),
        }
        drop(files);
        self.grown.send_modify(|n| *n += 1);
    }

    /// Whether all outputs of the container have ended.
    pub fn complete(&self, container: &str) -> bool {
        self.files().get(container).is_none_or(|log| log.open == 0)
    }

    /// Whether there is something from `offset`.
    pub fn beyond(&self, container: &str, offset: u64) -> bool {
        self.files().get(container).is_some_and(|log| log.length > offset)
    }

    /// What is there from `offset`.
    pub fn read(&self, container: &str, offset: u64) -> LogChunk {
        let (file, length, complete) = match self.files().get(container) {
            Some(log) => (log.file.clone(), log.length, log.open == 0),
            None => return LogChunk { bytes: Vec::new(), complete: true },
        };
        let left = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(CHUNK_MAX)];
        match file.read_exact_at(&mut bytes, offset) {
            Ok(()) => LogChunk { complete: complete && left == bytes.len(), bytes },
            Err(error) => {
                tracing::warn!(container, %error, "a log cannot be read");
                LogChunk { bytes: Vec::new(), complete }
            }
        }
    }

    /// Changes whenever any log has grown or ended.
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// The last `bytes` of what the container said, without times: for termination messages.
    pub fn tail(&self, container: &str, bytes: usize) -> String {
        let Some((file, length)) = self.files().get(container).map(|l| (l.file.clone(), l.length)) else {
            return String::new();
        };
        // Entries carry up to about 50 bytes of their own.
        let from = length.saturating_sub(4 * bytes as u64);
        let mut raw = vec![0; usize::try_from(length - from).unwrap_or(0)];
        if file.read_exact_at(&mut raw, from).is_err() {
            return String::new();
        }
        let raw = String::from_utf8_lossy(&raw).into_owned();
        let text: String = raw
            .lines()
            .filter_map(|line| {
                let mut fields = line.splitn(4, ' ');
                let (_, _, kind, text) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
                Some(format!("{text}{}", if kind == "F" { "\n" } else { "" }))
            })
            .collect();
        let mut start = text.len().saturating_sub(bytes);
        while !text.is_char_boundary(start) {
            start += 1;
        }
        text[start..].to_owned()
    }

    /// Folder of the files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Cuts one output into entries.
struct Lines {
    stream: &'static str,
    pending: Vec<u8>,
}

impl Lines {
    fn new(stream: Stream) -> Self {
        let stream = match stream {
            Stream::Out => "stdout",
            Stream::Err => "stderr",
        };
        Self { stream, pending: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8], now: Utc, out: &mut Vec<u8>) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            self.pending.extend_from_slice(part);
            while self.pending.len() > ENTRY_MAX && self.pending[ENTRY_MAX] != b'\n' {
                let rest = self.pending.split_off(ENTRY_MAX);
                let full = std::mem::replace(&mut self.pending, rest);
                entry(self.stream, "P", &full, now, out);
            }
            if self.pending.last() == Some(&b'\n') {
                self.pending.pop();
                entry(self.stream, "F", &self.pending, now, out);
                self.pending.clear();
            }
        }
    }

    /// A last line without an end stays without one.
    fn finish(&mut self, now: Utc, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            entry(self.stream, "P", &self.pending, now, out);
            self.pending.clear();
        }
    }
}

fn entry(stream: &str, kind: &str, text: &[u8], now: Utc, out: &mut Vec<u8>) {
    let time = Timestamp::from_microsecond(now.0).unwrap_or(Timestamp::UNIX_EPOCH);
    // Writing to memory cannot fail.
    let _ = write!(out, "{time:.9} {stream} {kind} ");
    out.extend_from_slice(text);
    out.push(b'\n');
}

#[cfg(test)]
mod tests;
