use super::*;

const NOW: Utc = Utc(1_700_000_000_123_456);
const TIME: &str = "2023-11-14T22:13:20.123456000Z";

fn entries(parts: &[&[u8]]) -> String {
    let mut lines = Lines::new(Stream::Out);
    let mut out = Vec::new();
    for part in parts {
        lines.take(part, NOW, &mut out);
    }
    lines.finish(NOW, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn lines_become_entries_however_they_arrive() {
    assert_eq!(entries(&[b"one\ntwo\n"]), format!("{TIME} stdout F one\n{TIME} stdout F two\n"));
    assert_eq!(entries(&[b"on", b"e\n", b"\n"]), format!("{TIME} stdout F one\n{TIME} stdout F \n"));
    assert_eq!(entries(&[b"open"]), format!("{TIME} stdout P open\n"));
    assert_eq!(entries(&[]), "");
}

#[test]
fn long_lines_are_split_and_lose_nothing() {
    let long = vec![b'x'; ENTRY_MAX * 2 + 5];
    let out = entries(&[&long, b"\n"]);
    let texts: Vec<_> = out.lines().map(|l| l.splitn(4, ' ').collect::<Vec<_>>()).collect();
    assert_eq!(texts.iter().map(|f| f[2]).collect::<Vec<_>>(), ["P", "P", "F"]);
    assert_eq!(texts.iter().map(|f| f[3].len()).sum::<usize>(), long.len());
    let exact = [vec![b'y'; ENTRY_MAX], vec![b'\n']].concat();
    assert_eq!(entries(&[&exact]).lines().count(), 1);
}

#[tokio::test]
async fn a_log_is_read_by_offset_and_knows_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = base::real::host();
    let logs = Logs::new(dir.path().to_owned(), host.clock.clone());
    logs.open("step", 1).unwrap();
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let receiver = pipe::Receiver::from_owned_fd(read).unwrap();
    let mut grown = logs.grown();
    let copying = logs.clone().copy("step".into(), Stream::Err, receiver);
    host.spawn("copy", copying);
    let mut file = File::from(write);
    file.write_all(b"hello\n").unwrap();
    grown.changed().await.unwrap();
    let first = logs.read("step", 0);
    assert!(!first.complete && first.bytes.ends_with(b" stderr F hello\n"), "{first:?}");
    drop(file);
    while !logs.complete("step") {
        grown.changed().await.unwrap();
    }
    let rest = logs.read("step", first.bytes.len() as u64);
    assert!(rest.complete && rest.bytes.is_empty());
    assert_eq!(logs.tail("step", 100), "hello\n");
    assert!(logs.read("unknown", 0).complete);
}
