use super::*;

#[test]
fn our_own_group_is_found_in_every_layout() {
    let hybrid = "9:name=systemd:/\n4:memory:/supervisor/1\n2:cpuacct,cpu:/other\n0::/\n";
    assert_eq!(own_group(hybrid, Layout::V1), Path::new("/supervisor/1"));
    assert_eq!(own_group("0::/user.slice/a:b\n", Layout::V2), Path::new("/user.slice/a:b"));
    assert_eq!(own_group("", Layout::Absent), Path::new("/"));
}

#[test]
fn removing_takes_children_first() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
    remove_tree(&dir.path().join("a")).unwrap();
    remove_tree(&dir.path().join("a")).unwrap();
    assert!(!dir.path().join("a").exists());
}
