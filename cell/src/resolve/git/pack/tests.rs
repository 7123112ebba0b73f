use std::io::Write;

use super::*;

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(data).unwrap();
    out.finish().unwrap()
}

/// A pack of entries: type, what stands before the data, the data.
fn pack(entries: &[(u8, &[u8], &[u8])]) -> (Vec<u8>, Vec<usize>) {
    let mut out = b"PACK\0\0\0\x02".to_vec();
    out.extend_from_slice(&u32::try_from(entries.len()).unwrap().to_be_bytes());
    let mut places = Vec::new();
    for (kind, before, data) in entries {
        places.push(out.len());
        assert!(data.len() < 16);
        out.push((kind << 4) | u8::try_from(data.len()).unwrap());
        out.extend_from_slice(before);
        out.extend(zlib(data));
    }
    let sum = digest(Format::Sha1, &[&out]).unwrap();
    out.extend(sum);
    (out, places)
}

fn name(kind: &str, data: &[u8]) -> Vec<u8> {
    digest(Format::Sha1, &[format!("{kind} {}\0", data.len()).as_bytes(), data]).unwrap()
}

#[test]
fn whole_objects_and_deltas_of_both_kinds_are_read() {
    let (first, second) = (b"hello world", b"hello there");
    // Copy 6 bytes from 0, then "there".
    let delta: &[u8] = &[11, 11, 0x80 | 0x10, 6, 5, b't', b'h', b'e', b'r', b'e'];
    let base = name("blob", first);
    let (_, places) = pack(&[(3, &[], first), (6, &[0], delta)]);
    let back = u8::try_from(places[1] - places[0]).unwrap();
    for entries in [
        [(3, &[][..], &first[..]), (6, &[back][..], delta)],
        [(3, &[], first), (7, &base, delta)],
        // The base may come last.
        [(7, &base, delta), (3, &[], first)],
    ] {
        let objects = read(&pack(&entries).0, Format::Sha1).unwrap();
        assert_eq!(objects[&base], (Kind::Blob, first.to_vec()));
        assert_eq!(objects[&name("blob", second)], (Kind::Blob, second.to_vec()));
    }
}

#[test]
fn names_are_those_of_git() {
    let hex = crate::resolve::ask::hex(&name("blob", b""));
    assert_eq!(hex, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
}

#[test]
fn broken_packs_are_refused_and_none_panics() {
    let delta: &[u8] = &[11, 11, 0x80 | 0x10, 6, 5, b't', b'h', b'e', b'r', b'e'];
    let (good, _) = pack(&[(3, &[], b"hello world"), (7, &name("blob", b"hello world"), delta)]);
    assert!(read(&good, Format::Sha1).is_ok());
    for cut in 0..good.len() {
        assert!(read(&good[..cut], Format::Sha1).is_err());
    }
    // Every byte changed, with a checksum that fits again.
    let body = good.len() - 20;
    for at in 0..body {
        for flip in [1, 0x80, 0xff] {
            let mut bad = good[..body].to_vec();
            bad[at] ^= flip;
            let sum = digest(Format::Sha1, &[&bad]).unwrap();
            bad.extend(sum);
            drop(read(&bad, Format::Sha1));
        }
    }
    let (lonely, _) = pack(&[(7, &[0; 20], delta)]);
    assert!(read(&lonely, Format::Sha1).unwrap_err().contains("without its base"));
}

#[test]
fn a_delta_does_not_grow_beyond_what_it_says() {
    let mut room = 1 << 20;
    let wrong: [&[u8]; 5] =
        [&[3, 1, 2, b'x', b'y'], &[3, 2, 0x90, 4], &[3, 1, 0], &[4, 1, 1, b'x'], &[3, 2, 1, b'x']];
    for delta in wrong {
        assert!(apply(b"abc", delta, &mut room).is_err(), "{delta:?}");
    }
    let mut little = 10;
    assert!(apply(b"abc", &[3, 11, 0x90, 3], &mut little).unwrap_err().contains("too large"));
}
