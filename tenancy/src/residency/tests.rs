use super::*;

fn says(text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(RESIDENCY.to_owned(), text.to_owned())])
}

fn only(regions: &[&str]) -> Residency {
    Residency(Some(regions.iter().map(|r| (*r).to_owned()).collect()))
}

#[test]
fn what_says_nothing_allows_everything() {
    let anywhere = Residency::parse(&BTreeMap::new()).unwrap();
    assert_eq!(anywhere, Residency::ANYWHERE);
    assert!(anywhere.allows("europe-west1"));
    assert_eq!(Residency::from(Vec::new()), Residency::ANYWHERE);
    assert_eq!(anywhere.and(&only(&["europe-west1"])), only(&["europe-west1"]));
}

#[test]
fn each_can_only_take_away() {
    let tenant = Residency::from(vec!["europe-west1".to_owned(), "europe-west4".to_owned()]);
    let namespace = Residency::parse(&says("europe-west4, us-central1")).unwrap();
    let both = tenant.and(&namespace);
    assert_eq!(both, only(&["europe-west4"]));
    assert!(both.allows("europe-west4") && !both.allows("us-central1") && !both.allows("europe-west1"));
    assert_eq!(namespace.and(&tenant), both);
}

#[test]
fn nothing_left_is_not_anywhere() {
    let nothing = only(&["europe-west1"]).and(&only(&["us-central1"]));
    assert!(!nothing.allows("europe-west1") && !nothing.allows("us-central1"));
    assert_eq!(nothing.and(&Residency::ANYWHERE), nothing);
}

#[test]
fn what_cannot_be_read_is_refused_and_not_forgotten() {
    for bad in ["", "Europe", "europe-west1,,", "europe west1"] {
        assert!(Residency::parse(&says(bad)).is_err(), "{bad:?}");
    }
}
