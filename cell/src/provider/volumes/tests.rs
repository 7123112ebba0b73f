use super::*;

fn volume(generation: u64, floor: u64) -> Volume {
    Volume {
        uid: "u-1".into(),
        namespace: "default".into(),
        claim: "c".into(),
        cell: "here".into(),
        generation,
        floor,
        holders: Vec::new(),
    }
}

#[test]
fn a_folder_keeps_its_content_and_its_fence_only_rises() {
    let data = tempfile::tempdir().unwrap();
    let folders = Folders::new(data.path());
    let Attached::Folder { path, fence } = folders.attach(&volume(1, 1)).unwrap();
    fs::write(path.join("kept"), "x").unwrap();
    let floor = || fs::read_to_string(&fence).unwrap();
    assert_eq!(floor(), "1");
    folders.attach(&volume(5, 4)).unwrap();
    assert_eq!(floor(), "4");
    folders.attach(&volume(2, 2)).unwrap();
    assert_eq!(floor(), "4", "an older view opens nothing");
    assert!(path.join("kept").exists());
    fs::write(&fence, "").unwrap();
    let why = folders.attach(&volume(9, 9)).unwrap_err().to_string();
    assert!(why.contains("u-1.fence cannot be read"), "a damaged fence lets nobody in: {why}");
    folders.delete("u-1").unwrap();
    folders.delete("u-1").unwrap();
    assert!(!path.exists() && !fence.exists());
    assert!(folders.delete("../elsewhere").is_err());
}

#[test]
fn replicas_that_attach_at_once_never_fail_and_never_lower_the_fence() {
    const REPLICAS: u64 = 4;
    const LAST: u64 = 200;
    let data = tempfile::tempdir().unwrap();
    let folders = Folders::new(data.path());
    let Attached::Folder { fence, .. } = folders.attach(&volume(1, 1)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..REPLICAS {
            scope.spawn(|| {
                for floor in 1..=LAST {
                    folders.attach(&volume(floor, floor)).unwrap();
                    let seen = fs::read_to_string(&fence).unwrap().parse::<u64>().unwrap();
                    assert!(seen >= floor, "{seen} after {floor}");
                }
            });
        }
    });
    assert_eq!(fs::read_to_string(&fence).unwrap(), LAST.to_string());
}
