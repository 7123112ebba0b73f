use serde_json::json;

use super::*;

fn map(all: &[(&str, &str)]) -> Map {
    all.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
}

fn of(params: &[(&str, &str)]) -> Result<Wanted, String> {
    Wanted::of(&map(params), &map(DEFAULTS), &Hubs::default())
}

#[test]
fn params_are_checked_in_the_references_words() {
    let invalid = |why: &str| format!("failed to validate params: {why}");
    let both = [("name", "git-clone"), ("version", "0.6")];
    assert_eq!(of(&[]).unwrap_err(), invalid("missing required hub resolver params: name, version"));
    for (extra, why) in [
        (("type", "tekton"), invalid("please configure TEKTON_HUB_API env variable to use tekton type")),
        (("url", "hub.example"), invalid("invalid url param: url must be a valid absolute URL: hub.example")),
        (("url", "ftp://h/"), invalid("invalid url param: url must use http or https scheme: ftp://h/")),
        (
            ("type", "other"),
            "failed to populate default params: failed to resolve catalog name with type: other".into(),
        ),
        (
            ("kind", "stepaction"),
            "failed to populate default params: failed to resolve catalog name with kind: stepaction".into(),
        ),
    ] {
        assert_eq!(of(&[both[0], both[1], extra]).unwrap_err(), why);
    }
    let catalog = ("catalog", "c");
    let kind = of(&[both[0], both[1], catalog, ("kind", "pod")]).unwrap_err();
    assert_eq!(kind, invalid("kind param must be one of: task, pipeline, stepaction"));
    let unset = Wanted::of(&map(&both), &Map::new(), &Hubs::default()).unwrap_err();
    assert_eq!(
        unset,
        "failed to populate default params: default type was not set during installation of the hub resolver"
    );
}

#[test]
fn urls_are_built_and_lists_of_hubs_kept_in_order() {
    let wanted = of(&[("name", "git-clone"), ("version", "0.6")]).unwrap();
    let base = &wanted.urls[0];
    assert_eq!(
        wanted.entry(base, &wanted.spelled("0.6")),
        "https://artifacthub.io/api/v1/packages/tekton-task/tekton-catalog-tasks/git-clone/0.6.0"
    );
    let params = map(&[("name", "p"), ("version", "0.6.1"), ("type", "tekton"), ("kind", "pipeline")]);
    let mut settings = map(DEFAULTS);
    settings.insert("tekton-hub-urls".into(), "- https://a.example/\n- https://b.example\n".into());
    let wanted = Wanted::of(&params, &settings, &Hubs::default()).unwrap();
    assert_eq!(wanted.urls, ["https://a.example", "https://b.example"]);
    assert_eq!(wanted.entry("h", &wanted.spelled("0.6.1")), "h/v1/resource/Tekton/pipeline/p/0.6/yaml");
}

#[test]
fn the_highest_version_that_fits_is_chosen() {
    let wanted = of(&[("name", "n"), ("version", ">= 0.2")]).unwrap();
    let constraints = Constraints::parse(&wanted.version).unwrap();
    let listed = json!({"available_versions": [
        {"version": "0.1.0"}, {"version": "0.10.0"}, {"version": "0.9.0"}, {"version": "0.11.0", "prerelease": true},
    ]});
    assert_eq!(wanted.choose(&listed, &constraints).unwrap().unwrap().to_string(), "0.10.0");
    assert_eq!(wanted.choose(&json!({}), &constraints), Ok(None));
    let odd = json!({"available_versions": [{"version": "x"}]});
    assert_eq!(
        wanted.choose(&odd, &constraints).unwrap_err(),
        "fail to parse version artifact from x: malformed version: x"
    );
}
