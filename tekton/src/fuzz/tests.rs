use std::path::{Path, PathBuf};

use super::*;

type Target = fn(&[u8]);

fn again(name: &str, target: Target) -> usize {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fuzz/found").join(name);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        target(&std::fs::read(file).unwrap());
    }
    files.len()
}

#[test]
fn what_was_found_once_stays_mended() {
    for (name, target) in [
        ("decode", decode as Target),
        ("substitution", substitution as Target),
        ("termination", termination as Target),
    ] {
        assert!(again(name, target) > 0, "no input of target {name} is kept");
    }
}

/// Reproducible numbers (splitmix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn spoiled_inputs_are_survived() {
    let seeds: [(Target, &[u8]); 3] = [
        (decode, b"\x01\x40{\"metadata\":{\"name\":\"a\"},\"spec\":{\"params\":[{\"name\":\"p\",\"value\":[1]}],\"taskSpec\":{\"steps\":[{\"image\":\"i\",\"script\":\"$(params.p[*])\",\"timeout\":\"1h\",\"results\":[{\"name\":\"r\"}]}]}}}"),
        (substitution, b"a $(params.x) $(params.y[*])\nparams.x=1\nparams.y[*]=1,2"),
        (termination, b"[{\"key\":\"a\",\"value\":\"b\",\"type\":1},{\"key\":\"a\",\"value\":\"c\",\"type\":\"StepResult\"}]"),
    ];
    let mut state = 1;
    for (target, seed) in seeds {
        for _ in 0..400 {
            let mut data = seed.to_vec();
            for _ in 0..=next(&mut state) % 4 {
                let at = usize::try_from(next(&mut state) % data.len() as u64).unwrap();
                match next(&mut state) % 3 {
                    0 => data[at] = b"\"{}[]$().,:-n0\xff\n"[usize::try_from(next(&mut state) % 16).unwrap()],
                    1 => drop(data.remove(at)),
                    _ => data.insert(
                        at,
                        b"\"{}[]$().,:-n0\xff\n"[usize::try_from(next(&mut state) % 16).unwrap()],
                    ),
                }
            }
            target(&data);
        }
    }
}
