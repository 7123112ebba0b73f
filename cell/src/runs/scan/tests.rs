use super::*;

#[test]
fn a_few_scans_are_never_early_and_many_keep_their_distance() {
    let mut pace = Pace::default();
    let mut now = Mono(1_000_000);
    for _ in 0..BURST {
        assert_eq!(pace.early(now), Duration::ZERO);
    }
    for _ in 0..5 {
        let early = pace.early(now);
        assert_eq!(early, Duration::from_micros(DISTANCE_US));
        now = Mono(now.0 + DISTANCE_US);
    }
    // Rest restores it.
    now = Mono(now.0 + 2 * BURST * DISTANCE_US);
    assert_eq!(pace.early(now), Duration::ZERO);
}
