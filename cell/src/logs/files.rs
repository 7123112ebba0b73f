//! Logs as files below one folder: `tenant/namespace/pod uid/container.log`, and `container.ended` when nothing
//! will be added. Several processes may use one folder: the files are the truth. Written without syncing: a log survives the process, and a power cut costs its last lines.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use base::host::BoxFuture;
use bytes::Bytes;
use tokio::sync::Notify;

use super::{Chunk, LogError, LogId, LogSink};

/// Most bytes of one container's log, unless configured.
pub const LOG_BYTES_MAX: u64 = 64 << 20;
/// So many logs are open before those that others have ended are looked for.
const OPEN_MAX: usize = 512;
/// The last line of a log that is too long; a container can print on, nobody keeps it.
const CUT: &str = "1970-01-01T00:00:00Z stderr F [cella: this container's log is longer than its limit; the rest is not kept]\n";

/// Logs in a folder.
pub struct Files {
    folder: PathBuf,
    bytes_max: u64,
    open: Mutex<BTreeMap<LogId, Arc<Mutex<Log>>>>,
    /// Who waits for which log; a log need not exist for that.
    waiting: Mutex<BTreeMap<LogId, Weak<Notify>>>,
}

struct Log {
    path: PathBuf,
    file: Option<File>,
    /// Bytes that the writer has sent; the file has fewer when the log is cut.
    sent: u64,
    /// Bytes of the file.
    kept: u64,
    cut: bool,
    ended: bool,
}

impl Files {
    /// Logs below `folder`, each at most `bytes_max` long.
    pub fn new(folder: &Path, bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            folder: folder.to_owned(),
            bytes_max,
            open: Mutex::default(),
            waiting: Mutex::default(),
        })
    }

    fn log(&self, id: &LogId) -> Result<Arc<Mutex<Log>>, LogError> {
        let path = self.path(id)?;
        let mut open = lock(&self.open);
        if let Some(log) = open.get(id) {
            return Ok(log.clone());
        }
        if open.len() >= OPEN_MAX {
            // Ended by another process, and read by nobody here.
            open.retain(|_, log| Arc::strong_count(log) > 1 || !ended_path(&lock(log).path).exists());
        }
        let log = Log { file: None, sent: 0, kept: 0, cut: false, ended: false, path };
        let log = Arc::new(Mutex::new(log));
        open.insert(id.clone(), log.clone());
        Ok(log)
    }

    fn path(&self, id: &LogId) -> Result<PathBuf, LogError> {
        let file = format!("{}.log", id.container);
        let mut path = self.folder.clone();
        for part in [&id.tenant, &id.namespace, &id.pod, &file] {
            path.push(checked(part)?);
        }
        Ok(path)
    }

    fn ring(&self, id: &LogId) {
        if let Some(signal) = lock(&self.waiting).get(id).and_then(Weak::upgrade) {
            signal.notify_waiters();
        }
    }

    /// Forgets an ended log that nobody reads: the file says it all.
    fn forget(&self, id: &LogId) {
        let mut open = lock(&self.open);
        // One reference here, one in the caller.
        if open.get(id).is_some_and(|log| Arc::strong_count(log) <= 2) {
            open.remove(id);
        }
    }
}

impl Log {
    fn append(&mut self, offset: u64, bytes: &[u8], bytes_max: u64) -> Result<u64, LogError> {
        // Another process may take the same chunk at this moment; the bytes are the same, but one of them cuts.
        let locked = self.open()?.try_clone()?;
        locked.lock()?;
        let next = self.append_locked(offset, bytes, bytes_max);
        locked.unlock()?;
        next
    }

    fn append_locked(&mut self, offset: u64, bytes: &[u8], bytes_max: u64) -> Result<u64, LogError> {
        self.refresh(bytes_max)?;
        if offset > self.sent {
            return Err(LogError::Gap { next: self.sent });
        }
        let known = usize::try_from(self.sent - offset).unwrap_or(usize::MAX);
        let fresh = bytes.get(known..).unwrap_or_default();
        if fresh.is_empty() || self.ended {
            return Ok(self.sent.max(offset + bytes.len() as u64));
        }
        if !self.cut {
            self.write(fresh, bytes_max)?;
        }
        self.sent += fresh.len() as u64;
        Ok(self.sent)
    }

    fn write(&mut self, fresh: &[u8], bytes_max: u64) -> io::Result<()> {
        let room = usize::try_from(bytes_max.saturating_sub(self.kept)).unwrap_or(usize::MAX);
        if fresh.len() <= room {
            return self.put(fresh);
        }
        // Cut at the end of a line, so that what is kept stays readable.
        let whole = fresh[..room].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.put(&fresh[..whole])?;
        self.put(CUT.as_bytes())?;
        self.cut = true;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let kept = self.kept;
        self.open()?.write_all_at(bytes, kept)?;
        self.kept += bytes.len() as u64;
        Ok(())
    }

    fn open(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                fs::create_dir_all(folder)?;
            }
            self.file = Some(OpenOptions::new().create(true).write(true).truncate(false).open(&self.path)?);
        }
        self.file.as_ref().ok_or_else(|| io::Error::other("no file"))
    }

    /// Learns what other processes have done to the log.
    fn refresh(&mut self, bytes_max: u64) -> io::Result<()> {
        if !self.ended && ended_path(&self.path).exists() {
            self.ended = true;
            self.file = None;
        }
        let kept = match fs::metadata(&self.path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        // What others have added was sent to them. (If they have cut it, that is a line too many, and nothing counts.)
        self.sent += kept.saturating_sub(self.kept);
        self.kept = kept;
        self.cut |= self.kept >= bytes_max;
        Ok(())
    }

    fn read(&mut self, offset: u64, max: usize, bytes_max: u64) -> io::Result<Option<Chunk>> {
        self.refresh(bytes_max)?;
        if !self.ended && self.kept == 0 && !self.path.exists() {
            return Ok(None);
        }
        let left = usize::try_from(self.kept.saturating_sub(offset)).unwrap_or(usize::MAX).min(max);
        let mut bytes = vec![0; left];
        if left > 0 {
            File::open(&self.path)?.read_exact_at(&mut bytes, offset)?;
        }
        let ended = self.ended && offset + left as u64 >= self.kept;
        Ok(Some(Chunk { bytes: bytes.into(), ended }))
    }

    fn end(&mut self) -> io::Result<()> {
        if !self.ended {
            if let Some(folder) = self.path.parent() {
                fs::create_dir_all(folder)?;
            }
            File::create(ended_path(&self.path))?;
            self.ended = true;
            self.file = None;
        }
        Ok(())
    }
}

impl LogSink for Files {
    fn append(&self, id: &LogId, offset: u64, bytes: Bytes) -> BoxFuture<'_, Result<u64, LogError>> {
        let id = id.clone();
        Box::pin(async move {
            let log = self.log(&id)?;
            let next = lock(&log).append(offset, &bytes, self.bytes_max)?;
            self.ring(&id);
            Ok(next)
        })
    }

    fn read(&self, id: &LogId, offset: u64, max: usize) -> BoxFuture<'_, Result<Option<Chunk>, LogError>> {
        let id = id.clone();
        Box::pin(async move {
            let log = self.log(&id)?;
            let chunk = lock(&log).read(offset, max, self.bytes_max)?;
            if chunk.as_ref().is_none_or(|chunk| chunk.ended) {
                self.forget(&id);
            }
            Ok(chunk)
        })
    }

    fn end(&self, id: &LogId) -> BoxFuture<'_, Result<(), LogError>> {
        let id = id.clone();
        Box::pin(async move {
            let log = self.log(&id)?;
            lock(&log).end()?;
            self.forget(&id);
            self.ring(&id);
            Ok(())
        })
    }

    fn end_pod(&self, tenant: &str, namespace: &str, pod: &str) -> BoxFuture<'_, Result<(), LogError>> {
        let id = |container: &str| LogId {
            tenant: tenant.to_owned(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.to_owned(),
        };
        let all = id("all");
        Box::pin(async move {
            let Some(folder) = self.path(&all)?.parent().map(Path::to_owned) else { return Ok(()) };
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for entry in entries {
                let name = entry?.file_name();
                if let Some(container) = name.to_str().and_then(|name| name.strip_suffix(".log")) {
                    self.end(&LogId { container: container.to_owned(), ..all.clone() }).await?;
                }
            }
            Ok(())
        })
    }

    fn remove_pod(&self, tenant: &str, namespace: &str, pod: &str) -> BoxFuture<'_, Result<(), LogError>> {
        let (tenant, namespace, pod) = (tenant.to_owned(), namespace.to_owned(), pod.to_owned());
        Box::pin(async move {
            let of_pod = |id: &LogId| id.pod == pod && id.namespace == namespace && id.tenant == tenant;
            lock(&self.open).retain(|id, _| !of_pod(id));
            let folder = self.folder.join(checked(&tenant)?).join(checked(&namespace)?).join(checked(&pod)?);
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                Ok(()) | Err(_) => Ok(()),
            }
        })
    }

    fn signal(&self, id: &LogId) -> Arc<Notify> {
        let mut waiting = lock(&self.waiting);
        if let Some(signal) = waiting.get(id).and_then(Weak::upgrade) {
            return signal;
        }
        waiting.retain(|_, signal| signal.strong_count() > 0);
        let signal = Arc::new(Notify::new());
        waiting.insert(id.clone(), Arc::downgrade(&signal));
        signal
    }
}

fn ended_path(path: &Path) -> PathBuf {
    path.with_extension("ended")
}

/// A part of a path that can only name something in its folder.
fn checked(part: &str) -> Result<&str, LogError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if part.is_empty() || part.len() > 255 || part.starts_with('.') || !part.bytes().all(good) {
        return Err(LogError::Name(part.to_owned()));
    }
    Ok(part)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
