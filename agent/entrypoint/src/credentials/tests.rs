use super::*;

fn made(flags: &[(&str, &str)], secrets: &[(&str, &str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("secrets"), folder.path().join("creds"));
    fs::create_dir_all(&to).unwrap();
    for (secret, key, content) in secrets {
        fs::create_dir_all(from.join(secret)).unwrap();
        fs::write(from.join(secret).join(key), content).unwrap();
    }
    let flags: Vec<_> = flags.iter().map(|(f, v)| ((*f).to_owned(), (*v).to_owned())).collect();
    make(&flags, &from, &to).unwrap();
    (folder, to)
}

#[test]
fn git_gets_a_store_of_credentials() {
    let (_keep, to) = made(
        &[("basic-git", "s=https://example.com"), ("basic-git", "s=https://example.org/team/repo")],
        &[("s", "username", "me"), ("s", "password", "p@ss")],
    );
    let config = fs::read_to_string(to.join(".gitconfig")).unwrap();
    assert_eq!(
        config,
        "[credential]\n\thelper = store\n[credential \"https://example.com\"]\n\tusername = me\n\
         [credential \"https://example.org/team/repo\"]\n\tusername = me\n\tuseHttpPath = true\n"
    );
    let credentials = fs::read_to_string(to.join(".git-credentials")).unwrap();
    assert_eq!(credentials, "https://me:p%40ss@example.com\nhttps://me:p%40ss@example.org/team/repo\n");
    assert!(!to.join(".docker").exists());
}

#[test]
fn keys_of_one_host_stand_together() {
    let (_keep, to) = made(
        &[("ssh-git", "a=example.com"), ("ssh-git", "b=example.com"), ("ssh-git", "b=example.org:8022")],
        &[("a", "ssh-privatekey", "A"), ("b", "ssh-privatekey", "B"), ("b", "known_hosts", "k")],
    );
    let key = |name: &str| to.join(".ssh").join(name).display().to_string();
    let config = fs::read_to_string(key("config")).unwrap();
    let expected = format!(
        "Host example.com\n    HostName example.com\n    Port 22\n    IdentityFile {a}\n    IdentityFile {b}\n\
         Host example.org\n    HostName example.org\n    Port 8022\n    IdentityFile {b}\n",
        a = key("id_a"),
        b = key("id_b")
    );
    assert_eq!(config, expected);
    assert_eq!(fs::read_to_string(key("known_hosts")).unwrap(), "k\nk");
    assert_eq!(fs::metadata(key("id_a")).unwrap().permissions().mode() & 0o777, FILE_MODE);
}

#[test]
fn a_key_may_be_for_one_repository() {
    let (_keep, to) = made(&[("ssh-git", "a=example.com/team/repo")], &[("a", "ssh-privatekey", "A")]);
    let config = fs::read_to_string(to.join(".ssh/config")).unwrap();
    assert!(config.starts_with("Host example.com-0\n    HostName example.com\n    Port 22\n"), "{config}");
    let git = fs::read_to_string(to.join(".gitconfig")).unwrap();
    assert_eq!(
        git,
        "[url \"git@example.com-0:team/repo\"]\n\tinsteadOf = git@example.com:team/repo\n\
         \tinsteadOf = ssh://git@example.com/team/repo\n"
    );
}

#[test]
fn registries_are_merged_and_named_ones_win() {
    let (_keep, to) = made(
        &[("docker-config", "c"), ("basic-docker", "s=https://r.example")],
        &[
            (
                "c",
                ".dockerconfigjson",
                r#"{"auths":{"https://r.example":{"auth":"x"},"q.example":{"auth":"y"}}}"#,
            ),
            ("s", "username", "me"),
            ("s", "password", "p"),
        ],
    );
    let text = fs::read_to_string(to.join(".docker/config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["auths"]["https://r.example"]["auth"], "bWU6cA==");
    assert_eq!(config["auths"]["q.example"]["auth"], "y");
}

#[test]
fn copies_are_for_the_user_alone() {
    let (keep, to) = made(&[("ssh-git", "a=h")], &[("a", "ssh-privatekey", "A")]);
    let home = keep.path().join("home");
    fs::create_dir(&home).unwrap();
    copy(&to.join(".ssh"), &home.join(".ssh")).unwrap();
    copy(&to.join(".docker"), &home.join(".docker")).unwrap();
    assert_eq!(fs::metadata(home.join(".ssh")).unwrap().permissions().mode() & 0o777, DIR_MODE);
    assert_eq!(fs::read_to_string(home.join(".ssh/id_a")).unwrap(), "A");
    assert!(!home.join(".docker").exists());
}
