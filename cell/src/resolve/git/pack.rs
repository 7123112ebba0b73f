//! Git's packs, read in memory: every object is unpacked, deltas are applied, names are computed from contents. A
//! pack comes from a server that a tenant chose, so all of it is limited, and nothing in it is believed.

use std::collections::BTreeMap;
use std::rc::Rc;

use flate2::{Decompress, FlushDecompress, Status};
use sha1_checked::Sha1;
use sha2::{Digest, Sha256};

use super::protocol::Format;

/// Most bytes of a pack.
pub const PACK_MAX: usize = 32 << 20;
/// Most bytes of everything in it, unpacked.
pub const UNPACKED_MAX: usize = 128 << 20;
/// Most objects.
const OBJECTS_MAX: usize = 200_000;

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A commit.
    Commit,
    /// A folder.
    Tree,
    /// A file.
    Blob,
    /// An annotated tag.
    Tag,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

/// Objects by name.
pub type Objects = BTreeMap<Vec<u8>, (Kind, Vec<u8>)>;

/// How an object is kept.
enum Kept {
    Whole(Kind),
    /// Differs from the one at this place of the pack.
    After(usize),
    /// Differs from the one of this name.
    Of(Vec<u8>),
}

/// The objects of a pack.
///
/// # Errors
/// In words for the run's message.
pub fn read(pack: &[u8], format: Format) -> Result<Objects, String> {
    let broken = |what: &str| format!("the pack is broken: {what}");
    let body = pack.len().checked_sub(format.width()).filter(|end| *end >= 12);
    let (body, trailer) = pack.split_at(body.ok_or_else(|| broken("too short"))?);
    let number = |at: usize| u32::from_be_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
    if &body[..4] != b"PACK" || !matches!(number(4), 2 | 3) {
        return Err(broken("no header"));
    }
    if digest(format, &[body])? != trailer {
        return Err(broken("its checksum is wrong"));
    }
    let count = number(8) as usize;
    if count > OBJECTS_MAX {
        return Err(format!("the pack has {count} objects; {OBJECTS_MAX} are the most"));
    }
    let mut reader = Reader { body, at: 12, room: UNPACKED_MAX };
    let mut waiting = Vec::with_capacity(count);
    for _ in 0..count {
        waiting.push(reader.entry(format)?);
    }
    if reader.at != body.len() {
        return Err(broken("bytes behind the last object"));
    }
    assemble(waiting, format, reader.room)
}

fn assemble(
    mut waiting: Vec<(usize, Kept, Vec<u8>)>,
    format: Format,
    mut room: usize,
) -> Result<Objects, String> {
    let mut by_place: BTreeMap<usize, Rc<(Kind, Vec<u8>)>> = BTreeMap::new();
    let mut by_name: BTreeMap<Vec<u8>, Rc<(Kind, Vec<u8>)>> = BTreeMap::new();
    // A base by name may stand behind what builds on it: go round until nothing is left.
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut later = Vec::new();
        for (place, kept, data) in waiting {
            let base = match &kept {
                Kept::Whole(_) => None,
                Kept::After(place) => by_place.get(place).cloned(),
                Kept::Of(name) => by_name.get(name).cloned(),
            };
            let object = match (&kept, base) {
                (Kept::Whole(kind), _) => (*kind, data),
                (_, Some(base)) => (base.0, apply(&base.1, &data, &mut room)?),
                (_, None) => {
                    later.push((place, kept, data));
                    continue;
                }
            };
            let head = format!("{} {}\0", object.0.name(), object.1.len());
            let name = digest(format, &[head.as_bytes(), &object.1])?;
            let object = Rc::new(object);
            by_place.insert(place, object.clone());
            by_name.insert(name, object);
        }
        if later.len() == before {
            return Err("the pack is broken: a delta without its base".into());
        }
        waiting = later;
    }
    drop(by_place);
    Ok(by_name.into_iter().map(|(name, object)| (name, Rc::unwrap_or_clone(object))).collect())
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
    /// Bytes that may still be unpacked.
    room: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let byte = self.body.get(self.at).copied().ok_or("the pack is broken: cut off")?;
        self.at += 1;
        Ok(byte)
    }

    fn entry(&mut self, format: Format) -> Result<(usize, Kept, Vec<u8>), String> {
        let place = self.at;
        let mut byte = self.byte()?;
        let (kind, mut size, mut shift) = ((byte >> 4) & 7, usize::from(byte & 15), 4_u32);
        while byte & 0x80 != 0 {
            byte = self.byte()?;
            if shift > 32 {
                return Err("the pack is broken: an absurd size".into());
            }
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
        }
        let kept = match kind {
            1 => Kept::Whole(Kind::Commit),
            2 => Kept::Whole(Kind::Tree),
            3 => Kept::Whole(Kind::Blob),
            4 => Kept::Whole(Kind::Tag),
            6 => Kept::After(self.base_place(place)?),
            7 => {
                let name =
                    self.body.get(self.at..self.at + format.width()).ok_or("the pack is broken: cut off")?;
                self.at += format.width();
                Kept::Of(name.to_vec())
            }
            _ => return Err("the pack is broken: an object of no kind".into()),
        };
        Ok((place, kept, self.inflate(size)?))
    }

    fn base_place(&mut self, place: usize) -> Result<usize, String> {
        let mut byte = self.byte()?;
        let mut back = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.byte()?;
            back = (back + 1).checked_shl(7).filter(|b| *b < 1 << 40).ok_or("the pack is broken: no base")?;
            back |= usize::from(byte & 0x7f);
        }
        place.checked_sub(back).filter(|_| back > 0).ok_or_else(|| "the pack is broken: no base".into())
    }

    fn inflate(&mut self, size: usize) -> Result<Vec<u8>, String> {
        self.room = self.room.checked_sub(size).ok_or_else(too_large)?;
        let mut out = Vec::with_capacity(size);
        let mut zlib = Decompress::new(true);
        let input = &self.body[self.at..];
        let bad = || "the pack is broken: data that cannot be unpacked".to_owned();
        loop {
            let used = usize::try_from(zlib.total_in()).unwrap_or(usize::MAX);
            let input = input.get(used..).ok_or_else(bad)?;
            if out.len() == out.capacity() {
                // Room for the end of the stream, and to notice that it is longer than it says.
                out.reserve_exact(1);
            }
            let (had_in, had_out) = (zlib.total_in(), zlib.total_out());
            match zlib.decompress_vec(input, &mut out, FlushDecompress::Finish).map_err(|_| bad())? {
                Status::StreamEnd => break,
                _ if out.len() > size || (zlib.total_in(), zlib.total_out()) == (had_in, had_out) => {
                    return Err(bad());
                }
                Status::Ok | Status::BufError => {}
            }
        }
        if out.len() != size {
            return Err(bad());
        }
        self.at += usize::try_from(zlib.total_in()).unwrap_or(usize::MAX);
        Ok(out)
    }
}

fn too_large() -> String {
    format!(
        "the repository is too large to be looked into: its files and folders exceed {UNPACKED_MAX} bytes"
    )
}

/// What a delta makes of its base.
fn apply(base: &[u8], delta: &[u8], room: &mut usize) -> Result<Vec<u8>, String> {
    let bad = || "the pack is broken: a delta that makes no sense".to_owned();
    let mut rest = delta;
    let mut take = || {
        let (first, others) = rest.split_first()?;
        rest = others;
        Some(*first)
    };
    let mut size = || {
        let (mut value, mut shift) = (0_usize, 0_u32);
        loop {
            let byte = take()?;
            value |= usize::from(byte & 0x7f).checked_shl(shift).filter(|_| shift <= 35)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    };
    let (from, to) = (size().ok_or_else(bad)?, size().ok_or_else(bad)?);
    if from != base.len() {
        return Err(bad());
    }
    *room = room.checked_sub(to).ok_or_else(too_large)?;
    let mut out = Vec::with_capacity(to);
    while let Some((op, others)) = rest.split_first() {
        rest = others;
        let part = match op {
            0 => return Err(bad()),
            op if op & 0x80 == 0 => {
                let (part, others) = rest.split_at_checked(usize::from(*op)).ok_or_else(bad)?;
                rest = others;
                part
            }
            op => {
                let mut field = |bits: std::ops::Range<u8>| {
                    let mut value = 0_usize;
                    for (index, bit) in bits.enumerate() {
                        if op & (1 << bit) != 0 {
                            let (byte, others) = rest.split_first()?;
                            rest = others;
                            value |= usize::from(*byte) << (8 * index);
                        }
                    }
                    Some(value)
                };
                let (at, length) = (field(0..4).ok_or_else(bad)?, field(4..7).ok_or_else(bad)?);
                let length = if length == 0 { 0x10000 } else { length };
                base.get(at..at + length).ok_or_else(bad)?
            }
        };
        if out.len() + part.len() > to {
            return Err(bad());
        }
        out.extend_from_slice(part);
    }
    if out.len() == to { Ok(out) } else { Err(bad()) }
}

/// The digest of some bytes. One of SHA-1 that shows the marks of a forged collision is none.
fn digest(format: Format, parts: &[&[u8]]) -> Result<Vec<u8>, String> {
    match format {
        Format::Sha1 => {
            let mut hash = Sha1::new();
            parts.iter().for_each(|part| Digest::update(&mut hash, part));
            let result = hash.try_finalize();
            match result.has_collision() {
                false => Ok(result.hash().to_vec()),
                true => Err("an object of the repository is part of a forged SHA-1 collision".into()),
            }
        }
        Format::Sha256 => {
            let mut hash = Sha256::new();
            parts.iter().for_each(|part| hash.update(part));
            Ok(hash.finalize().to_vec())
        }
    }
}

#[cfg(test)]
mod tests;
