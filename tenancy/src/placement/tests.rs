use super::*;

const NOW: i64 = 1_000_000_000;

fn cell(name: &str, region: &str, machines: u32) -> CellView {
    let cell = name.to_owned();
    CellView { cell, region: region.into(), heard_us: NOW, draining: false, machines, machines_max: 10 }
}

fn request(regions: &str, placement: &str) -> Result<Request, BadRequest> {
    let mut annotations = BTreeMap::new();
    annotations.insert(REGIONS.to_owned(), regions.to_owned());
    if !placement.is_empty() {
        annotations.insert(PLACEMENT.to_owned(), placement.to_owned());
    }
    Request::parse(&annotations, Vec::new())
}

#[test]
fn a_strict_run_goes_where_it_says_or_waits_there() {
    let mut cells = [cell("us", "us-central1", 0), cell("eu", "europe-west1", 9)];
    let strict = request("europe-west1", "strict").unwrap();
    let placed = place(&strict, &cells, NOW, 0).unwrap();
    assert_eq!((placed.cell.as_str(), placed.waits_for.as_deref()), ("eu", None));
    assert_eq!(placed.refused["us"], Refusal::Region);
    cells[1].machines = 10;
    let placed = place(&strict, &cells, NOW, 0).unwrap();
    assert_eq!(placed.cell, "eu");
    assert!(placed.waits_for.unwrap().contains("free machine"));
}

#[test]
fn preferences_are_followed_in_order_and_given_up_for_room() {
    let mut cells = [cell("us", "us-central1", 0), cell("eu", "europe-west1", 0)];
    let prefer = request("europe-west1,us-central1", "").unwrap();
    assert_eq!(place(&prefer, &cells, NOW, 0).unwrap().cell, "eu");
    cells[1].draining = true;
    assert_eq!(place(&prefer, &cells, NOW, 0).unwrap().cell, "us");
    cells[0].heard_us = NOW - SILENT_US - 1;
    let placed = place(&prefer, &cells, NOW, 0).unwrap();
    assert_eq!(placed.cell, "eu");
    assert!(placed.waits_for.is_some());
}

#[test]
fn anywhere_means_the_emptier_of_two() {
    let cells = [cell("us", "us-central1", 8), cell("eu", "europe-west1", 1)];
    let any = request("", "").unwrap();
    assert_eq!(any.mode, Mode::Any);
    for random in [1, 1 << 32, 1 | (1 << 32)] {
        assert_eq!(place(&any, &cells, NOW, random).unwrap().cell, "eu", "{random}");
    }
}

#[test]
fn residency_is_never_given_up() {
    let cells = [cell("us", "us-central1", 0), cell("eu", "europe-west1", 10)];
    let mut any = request("us-central1", "prefer").unwrap();
    any.residency = vec!["europe-west1".to_owned()].into();
    assert_eq!(place(&any, &cells, NOW, 0).unwrap().cell, "eu");
    let mut strict = request("us-central1", "strict").unwrap();
    strict.residency = vec!["europe-west1".to_owned()].into();
    let error = place(&strict, &cells, NOW, 0).unwrap_err().to_string();
    assert!(error.contains("us-central1") && error.contains("europe-west1"), "{error}");
}

#[test]
fn what_cannot_be_read_is_named() {
    assert_eq!(request("", "strict"), Err(BadRequest::StrictNowhere));
    assert_eq!(request("x", "maybe"), Err(BadRequest::Mode("maybe".into())));
    assert_eq!(request("Europe", ""), Err(BadRequest::Region("Europe".into())));
}

#[test]
fn a_run_follows_the_volume_of_its_claim_or_is_refused() {
    let cells = [cell("a", "r1", 9), cell("b", "r2", 0)];
    let mut wanted = request("", "").unwrap();
    wanted.volume = Some(("data".into(), "a".into()));
    let placed = place(&wanted, &cells, NOW, 0).unwrap();
    assert_eq!(placed.cell, "a");
    assert!(placed.because.contains("claim \"data\""), "{}", placed.because);
    assert_eq!(placed.refused["b"], Refusal::Volume);
    let mut elsewhere = request("r2", "strict").unwrap();
    elsewhere.volume = wanted.volume;
    let refused = place(&elsewhere, &cells, NOW, 0).unwrap_err().to_string();
    assert!(refused.contains("\"data\" is in cell a"), "{refused}");
}

#[test]
fn a_run_can_only_take_away_from_what_its_tenant_may() {
    let cells = [cell("us", "us-central1", 0), cell("eu", "europe-west1", 0)];
    let says = |regions: &str| BTreeMap::from([(crate::residency::RESIDENCY.to_owned(), regions.to_owned())]);
    let tenant = || vec!["europe-west1".to_owned(), "us-central1".to_owned()];
    let run = Request::parse(&says("us-central1"), tenant()).unwrap();
    let placed = place(&run, &cells, NOW, 0).unwrap();
    assert_eq!((placed.cell.as_str(), placed.refused["eu"]), ("us", Refusal::Residency));
    let nowhere = Request::parse(&says("asia-east1"), tenant()).unwrap();
    let error = place(&nowhere, &cells, NOW, 0).unwrap_err();
    assert!(error.possible.is_empty(), "{error}");
    assert!(matches!(Request::parse(&says("Asia"), tenant()), Err(BadRequest::Residency(_))));
}

#[test]
fn a_longest_wait_is_a_time() {
    let parse = |wait: &str| {
        let annotations = BTreeMap::from([(MAX_WAIT.to_owned(), wait.to_owned())]);
        Request::parse(&annotations, Vec::<String>::new()).map(|request| request.max_wait_us)
    };
    assert_eq!(parse(""), Ok(None));
    assert_eq!(parse("30s"), Ok(Some(30_000_000)));
    assert_eq!(parse("1h30m"), Ok(Some(5_400_000_000)));
    assert_eq!(parse("90"), Ok(Some(90_000_000)));
    for bad in ["soon", "5d", "m", "5m3", "-5s", "99999999999999999999s"] {
        assert_eq!(parse(bad), Err(BadRequest::Wait(bad.into())), "{bad}");
    }
}

#[test]
fn a_placement_remembers_the_ones_before_it_up_to_a_number() {
    let cells = [cell("us", "us-central1", 0)];
    let any = request("", "").unwrap();
    let mut placed = place(&any, &cells, NOW, 0).unwrap();
    for n in 0..EARLIER_MAX + 3 {
        placed = place(&any, &cells, NOW + n as i64 + 1, 0).unwrap().after(placed, &format!("reason {n}"));
    }
    assert_eq!(placed.earlier.len(), EARLIER_MAX);
    assert_eq!(placed.earlier.last().unwrap().left, format!("reason {}", EARLIER_MAX + 2));
    assert!(placed.earlier.is_sorted_by_key(|earlier| earlier.at_us));
}
