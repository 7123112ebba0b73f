//! Git's wire protocol, version 2, as far as it takes to look up a revision and to fetch objects: requests to write,
//! answers to read. Nothing here does I/O.

/// How a repository names its objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// By SHA-1.
    Sha1,
    /// By SHA-256.
    Sha256,
}

impl Format {
    /// Bytes of a name.
    pub fn width(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }
}

/// What a server can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// How it names objects.
    pub format: Format,
    /// It can leave objects out.
    pub filter: bool,
    /// It can leave history out.
    pub shallow: bool,
}

/// A branch, a tag, or another name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ref {
    /// `refs/heads/main`, `HEAD`.
    pub name: String,
    /// The object, in hexadecimal: of an annotated tag, what it is about.
    pub id: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Packet<'a> {
    Data(&'a [u8]),
    Flush,
    Delimiter,
    End,
}

/// Cuts an answer into packets. A fault ends it.
struct Packets<'a>(&'a [u8]);

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let head = self.0.get(..4).and_then(|head| std::str::from_utf8(head).ok());
        let length = head.and_then(|head| usize::from_str_radix(head, 16).ok());
        let (packet, end) = match length {
            Some(0) => (Packet::Flush, 4),
            Some(1) => (Packet::Delimiter, 4),
            Some(2) => (Packet::End, 4),
            Some(length @ 4..) if length <= self.0.len() => (Packet::Data(&self.0[4..length]), length),
            _ => {
                self.0 = &[];
                return Some(Err("protocol error: bad line length character".into()));
            }
        };
        self.0 = &self.0[end..];
        match packet {
            Packet::Data(data) if data.starts_with(b"ERR ") => {
                let said = String::from_utf8_lossy(&data[4..]).trim().to_owned();
                Some(Err(format!("remote error: {said}")))
            }
            packet => Some(Ok(packet)),
        }
    }
}

fn line(packet: Packet<'_>) -> Option<&str> {
    match packet {
        Packet::Data(data) => std::str::from_utf8(data).ok().map(|text| text.trim_end_matches('\n')),
        Packet::Flush | Packet::Delimiter | Packet::End => None,
    }
}

fn packet(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(format!("{:04x}{text}\n", text.len() + 5).as_bytes());
}

fn command(server: &Server, name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    packet(&mut out, &format!("command={name}"));
    packet(&mut out, "agent=cella");
    packet(&mut out, &format!("object-format={}", server.format.name()));
    out.extend_from_slice(b"0001");
    out
}

/// Reads what a server says of itself.
///
/// # Errors
/// In words for the run's message.
pub fn server(answer: &[u8]) -> Result<Server, String> {
    let mut server = Server { format: Format::Sha1, filter: false, shallow: false };
    let mut speaks = false;
    for packet in Packets(answer) {
        let Some(text) = line(packet?) else { continue };
        match text.split_once('=').unwrap_or((text, "")) {
            ("version 2", _) => speaks = true,
            ("object-format", "sha256") => server.format = Format::Sha256,
            ("fetch", can) => {
                server.filter = can.split(' ').any(|word| word == "filter");
                server.shallow = can.split(' ').any(|word| word == "shallow");
            }
            _ => {}
        }
    }
    match speaks {
        true => Ok(server),
        false => Err("the server does not speak version 2 of git's protocol, which is the one we do".into()),
    }
}

/// Where `revision` may be, in the order in which git looks.
fn places(revision: &str) -> [String; 6] {
    [
        revision.to_owned(),
        format!("refs/{revision}"),
        format!("refs/tags/{revision}"),
        format!("refs/heads/{revision}"),
        format!("refs/remotes/{revision}"),
        format!("refs/remotes/{revision}/HEAD"),
    ]
}

/// The request for the names that `revision` may mean.
pub fn ask_refs(server: &Server, revision: &str) -> Vec<u8> {
    let mut out = command(server, "ls-refs");
    packet(&mut out, "peel");
    for place in places(revision) {
        packet(&mut out, &format!("ref-prefix {place}"));
    }
    out.extend_from_slice(b"0000");
    out
}

/// The names in the answer.
///
/// # Errors
/// In words for the run's message.
pub fn refs(answer: &[u8]) -> Result<Vec<Ref>, String> {
    let mut out = Vec::new();
    for packet in Packets(answer) {
        let Some(text) = line(packet?) else { continue };
        let mut words = text.split(' ');
        let (Some(id), Some(name)) = (words.next(), words.next()) else { continue };
        let peeled = words.find_map(|word| word.strip_prefix("peeled:"));
        out.push(Ref { name: name.to_owned(), id: peeled.unwrap_or(id).to_owned() });
    }
    Ok(out)
}

/// The object that `revision` means.
pub fn pick<'a>(refs: &'a [Ref], revision: &str) -> Option<&'a str> {
    places(revision).iter().find_map(|place| refs.iter().find(|r| r.name == *place)).map(|r| r.id.as_str())
}

/// The request for objects: a commit without its history and, if the server can, without files; or single ones.
pub fn ask_objects(server: &Server, ids: &[&str]) -> Vec<u8> {
    let mut out = command(server, "fetch");
    for word in ["ofs-delta", "no-progress"] {
        packet(&mut out, word);
    }
    if server.shallow {
        packet(&mut out, "deepen 1");
    }
    if server.filter {
        packet(&mut out, "filter blob:none");
    }
    for id in ids {
        packet(&mut out, &format!("want {id}"));
    }
    packet(&mut out, "done");
    out.extend_from_slice(b"0000");
    out
}

/// The pack in the answer.
///
/// # Errors
/// In words for the run's message.
pub fn pack(answer: &[u8]) -> Result<Vec<u8>, String> {
    let (mut out, mut inside) = (Vec::new(), false);
    for packet in Packets(answer) {
        match packet? {
            Packet::Data(b"packfile\n") => inside = true,
            // Bands: the pack, what a human may read, and the end of it all.
            Packet::Data([1, data @ ..]) if inside => out.extend_from_slice(data),
            Packet::Data([3, said @ ..]) if inside => {
                return Err(format!("remote error: {}", String::from_utf8_lossy(said).trim()));
            }
            Packet::Data(_) | Packet::Flush | Packet::Delimiter | Packet::End => {}
        }
    }
    if inside { Ok(out) } else { Err("expected 'packfile'".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(all: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for text in all {
            match *text {
                "" => out.extend_from_slice(b"0000"),
                text => packet(&mut out, text),
            }
        }
        out
    }

    #[test]
    fn a_server_says_what_it_can() {
        let said = [
            "# service=git-upload-pack",
            "",
            "version 2",
            "agent=x",
            "ls-refs=unborn",
            "fetch=shallow filter",
            "",
        ];
        assert_eq!(server(&lines(&said)), Ok(Server { format: Format::Sha1, filter: true, shallow: true }));
        let old = lines(&["# service=git-upload-pack", "", "0123 HEAD\0multi_ack", ""]);
        assert!(server(&old).unwrap_err().contains("version 2"));
        assert!(server(b"<html>").is_err());
        assert_eq!(server(&lines(&["ERR no such thing"])).unwrap_err(), "remote error: no such thing");
    }

    #[test]
    fn names_mean_what_they_mean_to_git() {
        let said = ["a HEAD symref-target:refs/heads/main", "b refs/heads/v1", "c refs/tags/v1 peeled:d", ""];
        let refs = refs(&lines(&said)).unwrap();
        assert_eq!(pick(&refs, "v1"), Some("d"));
        assert_eq!(pick(&refs, "refs/heads/v1"), Some("b"));
        assert_eq!(pick(&refs, "heads/v1"), Some("b"));
        assert_eq!(pick(&refs, "HEAD"), Some("a"));
        assert_eq!(pick(&refs, "v2"), None);
    }

    #[test]
    fn a_pack_comes_in_bands() {
        let mut answer = lines(&["shallow-info", "shallow abc"]);
        answer.extend_from_slice(b"0001");
        packet(&mut answer, "packfile");
        answer.extend_from_slice(b"0009\x01PACK");
        answer.extend_from_slice(b"0009\x02said");
        answer.extend_from_slice(b"0007\x01xy0000");
        assert_eq!(pack(&answer).unwrap(), b"PACKxy");
        answer.truncate(answer.len() - 4);
        answer.extend_from_slice(b"0009\x03oops");
        assert_eq!(pack(&answer).unwrap_err(), "remote error: oops");
        for cut in 0..answer.len() {
            drop(pack(&answer[..cut]));
        }
    }
}
