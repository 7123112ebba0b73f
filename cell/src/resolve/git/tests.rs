use super::forge::{Forge, Kind};
use super::*;

fn map(all: &[(&str, &str)]) -> Map {
    all.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
}

fn of(params: &[(&str, &str)]) -> Result<Wanted, String> {
    Wanted::of(&map(params), &map(DEFAULTS))
}

#[test]
fn params_are_checked_in_the_references_words() {
    let (url, path) = (("url", "https://g.example/r"), ("pathInRepo", "/a/t.yaml"));
    for (params, why) in [
        (&[("url", "u"), ("repo", "r")][..], "cannot specify both 'url' and 'repo'"),
        (&[("repo", "r")], "'org' is required when 'repo' is specified"),
        (&[url], "missing required git resolver params: pathInRepo"),
        (
            &[url, path, ("revision", "--upload-pack=x")],
            "invalid revision \"--upload-pack=x\": must not begin with '-'",
        ),
        (&[("url", "/etc"), path], "invalid git repository url: /etc"),
        (&[("url", "file:///etc"), path], "invalid git repository url: file:///etc"),
        (&[url, ("pathInRepo", "a/../../b")], "invalid path \"a/../../b\": must not contain '..' components"),
        (&[url, path, ("configKey", "x")], "no git resolver configuration found for configKey x"),
        (
            &[("org", "o"), ("repo", "r"), path],
            "cannot get API token, required when specifying 'repo' param, 'api-token-secret-name' not specified in config",
        ),
        (
            &[("org", "o"), ("repo", "r"), path, ("serverURL", "https://evil.example")],
            "custom serverURL \"https://evil.example\" requires a token parameter; the system token cannot be sent to a non-default server URL",
        ),
    ] {
        assert_eq!(of(params).unwrap_err(), why);
    }
    for ours in ["git@g.example:r", "ssh://g.example/r", "git://g.example/r"] {
        assert!(of(&[("url", ours), path]).unwrap_err().contains("use its https url"), "{ours}");
    }
    let none = Wanted::of(&map(&[path]), &Map::new()).unwrap_err();
    assert_eq!(none, "must specify one of 'url' or 'repo'");
    let missing = Wanted::of(&map(&[url]), &Map::new()).unwrap_err();
    assert_eq!(missing, "missing required git resolver params: revision, pathInRepo");
    let wanted = of(&[path]).unwrap();
    assert_eq!((wanted.revision.as_str(), wanted.path.as_str()), ("main", "a/t.yaml"));
    assert!(matches!(wanted.place, Place::Url { url, .. } if url.ends_with("tektoncd/catalog.git")));
}

#[test]
fn groups_of_settings_are_told_apart() {
    let settings = map(&[
        ("default-revision", "main"),
        ("other.default-revision", "next"),
        ("other.fetch-timeout", "5s"),
    ]);
    let config = config(&map(&[("configKey", "other")]), &settings).unwrap();
    assert_eq!((config.revision.as_str(), config.timeout.as_str()), ("next", "5s"));
    let wrong = super::config(&Params::new(), &map(&[("a.b.c", "")])).unwrap_err();
    assert_eq!(wrong, "key a.b.c passed in git resolver configmap is invalid");
}

#[test]
fn forges_have_their_apis_where_they_have_them() {
    let urls = |scm: &str, server: &str| {
        let forge = Forge::of(scm, server).unwrap();
        forge.urls("o", "r", "a b/t.yaml", "v1/x").map(|url| url.to_string())
    };
    assert_eq!(
        urls("github", ""),
        [
            "https://api.github.com/repos/o/r/contents/a%20b/t.yaml?ref=v1%2Fx",
            "https://api.github.com/repos/o/r/commits/v1/x",
            "https://api.github.com/repos/o/r",
        ]
    );
    assert_eq!(
        urls("gitea", "https://g.example/"),
        [
            "https://g.example/api/v1/repos/o/r/contents/a%20b/t.yaml?ref=v1%2Fx",
            "https://g.example/api/v1/repos/o/r/git/commits/v1%2Fx",
            "https://g.example/api/v1/repos/o/r",
        ]
    );
    assert_eq!(
        urls("gitlab", "")[0],
        "https://gitlab.com/api/v4/projects/o%2Fr/repository/files/a%20b%2Ft.yaml?ref=v1%2Fx"
    );
    assert_eq!(
        Forge::of("github", "https://ghe.example").unwrap().api.as_str(),
        "https://ghe.example/api/v3"
    );
    assert_eq!(Forge::of("gitea", "http://g.example").unwrap().kind, Kind::Gitea);
    assert!(Forge::of("gitea", "").is_err() && Forge::of("bitbucketcloud", "").is_err());
    assert!(Forge::of("gitea", "file:///x").is_err());
}
