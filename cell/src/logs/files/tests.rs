use bytes::Bytes;

use super::super::memory::Memory;
use super::*;

fn id(container: &str) -> LogId {
    LogId {
        tenant: "acme".into(),
        namespace: "default".into(),
        pod: "uid-1".into(),
        container: container.into(),
    }
}

#[tokio::test]
async fn a_repeated_or_overlapping_chunk_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    repeated(&*Files::new(folder.path(), LOG_BYTES_MAX)).await;
    repeated(&Memory::default()).await;
}

async fn repeated(logs: &dyn LogSink) {
    let log = id("step-a");
    assert!(logs.read(&log, 0, 10).await.unwrap().is_none());
    assert_eq!(logs.append(&log, 0, Bytes::from_static(b"one\ntwo\n")).await.unwrap(), 8);
    assert_eq!(logs.append(&log, 0, Bytes::from_static(b"one\ntwo\n")).await.unwrap(), 8);
    assert_eq!(logs.append(&log, 4, Bytes::from_static(b"two\nthree\n")).await.unwrap(), 14);
    assert!(matches!(logs.append(&log, 20, Bytes::from_static(b"x")).await, Err(LogError::Gap { next: 14 })));
    let chunk = logs.read(&log, 4, 100).await.unwrap().unwrap();
    assert_eq!((&chunk.bytes[..], chunk.ended), (&b"two\nthree\n"[..], false));
    logs.end(&log).await.unwrap();
    logs.append(&log, 14, Bytes::from_static(b"late")).await.unwrap();
    let chunk = logs.read(&log, 4, 100).await.unwrap().unwrap();
    assert_eq!((&chunk.bytes[..], chunk.ended), (&b"two\nthree\n"[..], true));
    logs.remove_pod("acme", "default", "uid-1").await.unwrap();
    assert!(logs.read(&log, 0, 10).await.unwrap().is_none());
}

#[tokio::test]
async fn an_ended_log_says_so_after_its_last_byte_and_to_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Files::new(folder.path(), LOG_BYTES_MAX);
    let log = id("step-a");
    logs.append(&log, 0, Bytes::from_static(b"one\n")).await.unwrap();
    logs.end_pod("acme", "default", "uid-1").await.unwrap();
    for logs in [logs, Files::new(folder.path(), LOG_BYTES_MAX)] {
        assert!(!logs.read(&log, 0, 2).await.unwrap().unwrap().ended);
        let chunk = logs.read(&log, 2, 100).await.unwrap().unwrap();
        assert_eq!((&chunk.bytes[..], chunk.ended), (&b"e\n"[..], true));
    }
}

#[tokio::test]
async fn a_log_beyond_its_limit_is_cut_at_a_line_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Files::new(folder.path(), 10);
    let log = id("step-a");
    assert_eq!(logs.append(&log, 0, Bytes::from_static(b"12345\n67890\n")).await.unwrap(), 12);
    assert_eq!(logs.append(&log, 12, Bytes::from_static(b"more\n")).await.unwrap(), 17);
    let text = logs.read(&log, 0, 1000).await.unwrap().unwrap().bytes;
    assert_eq!(text, format!("12345\n{CUT}").as_bytes());
}

#[tokio::test]
async fn a_name_cannot_leave_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Files::new(folder.path(), 10);
    for bad in ["..", ".hidden", "a/b", ""] {
        let log = LogId { namespace: bad.into(), ..id("step-a") };
        assert!(matches!(logs.append(&log, 0, Bytes::new()).await, Err(LogError::Name(_))), "{bad}");
    }
}

#[tokio::test]
async fn several_processes_write_and_read_one_log() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Files::new(folder.path(), 40), Files::new(folder.path(), 40));
    let log = id("step-a");
    assert!(b.read(&log, 0, 10).await.unwrap().is_none());
    assert_eq!(a.append(&log, 0, Bytes::from_static(b"one\n")).await.unwrap(), 4);
    // The agent turns to the other replica, and repeats what it is not sure of.
    assert_eq!(b.append(&log, 0, Bytes::from_static(b"one\ntwo\n")).await.unwrap(), 8);
    assert_eq!(a.append(&log, 8, Bytes::from_static(b"three\n")).await.unwrap(), 14);
    let chunk = b.read(&log, 4, 100).await.unwrap().unwrap();
    assert_eq!((&chunk.bytes[..], chunk.ended), (&b"two\nthree\n"[..], false));
    // One of them cuts it, once.
    let long = Bytes::from(vec![b'x'; 100]);
    a.append(&log, 14, long.clone()).await.unwrap();
    b.append(&log, 14, long).await.unwrap();
    let text = b.read(&log, 0, 1000).await.unwrap().unwrap().bytes;
    assert_eq!(String::from_utf8_lossy(&text).matches("longer than its limit").count(), 1);
    b.end(&log).await.unwrap();
    assert!(a.read(&log, 0, 1000).await.unwrap().unwrap().ended);
    a.remove_pod("acme", "default", "uid-1").await.unwrap();
    assert!(b.read(&log, 0, 10).await.unwrap().is_none());
}
