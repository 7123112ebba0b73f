use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\n";

fn check(user: User, wanted: Result<(u32, u32, &[u32], &str), &str>) {
    match (of_files(PASSWD, GROUP, &user), wanted) {
        (Ok(ids), Ok((uid, gid, groups, home))) => {
            assert_eq!(
                (ids.uid, ids.gid, &ids.groups[..], ids.home.as_str()),
                (uid, gid, groups, home),
                "{user:?}"
            );
        }
        (Err(text), Err(part)) => assert!(text.contains(part), "{user:?}: {text}"),
        (got, wanted) => panic!("{user:?}: got {got:?}, wanted {wanted:?}"),
    }
}

#[test]
fn users_are_resolved_as_a_kubelet_does() {
    let image = |name: &str| User { image: Some(name.into()), ..User::default() };
    check(User::default(), Ok((0, 0, &[10], "/root")));
    check(image("app"), Ok((1000, 1001, &[10], "/home/app")));
    check(image("1000"), Ok((1000, 1001, &[10], "/home/app")));
    check(image("app:wheel"), Ok((1000, 10, &[10], "/home/app")));
    check(image("4242:7"), Ok((4242, 7, &[], "/")));
    check(image("nobody"), Err("unable to find user nobody"));
    check(image("app:nogroup"), Err("unable to find group nogroup"));
    check(User { uid: Some(1000), ..image("root:wheel") }, Ok((1000, 1001, &[10], "/home/app")));
    check(
        User { uid: Some(5), gid: Some(6), groups: vec![7, 6], ..User::default() },
        Ok((5, 6, &[7, 6], "/")),
    );
}

#[test]
fn ids_that_the_kernel_reads_as_keep_are_refused() {
    for uid in [-1, 4_294_967_295, 2_147_483_648] {
        check(User { uid: Some(uid), ..User::default() }, Err("is not between 0 and 2147483647"));
    }
    check(User { groups: vec![-1], ..User::default() }, Err("group id -1"));
    check(User { image: Some("4294967295".into()), ..User::default() }, Err("user id 4294967295"));
}

#[test]
fn non_root_means_the_resolved_number() {
    let non_root =
        |image: &str, uid| User { image: Some(image.into()), uid, non_root: true, ..User::default() };
    check(non_root("root", None), Err("runAsNonRoot"));
    check(non_root("", None), Err("runAsNonRoot"));
    check(non_root("app", Some(0)), Err("runAsNonRoot"));
    check(non_root("root", Some(1000)), Ok((1000, 1001, &[10], "/home/app")));
}
