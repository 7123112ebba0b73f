use super::*;

#[test]
fn quantities_have_the_values_that_kubernetes_gives_them() {
    for (text, wanted) in [
        ("1", Some(1000)),
        ("250m", Some(250)),
        ("0.5", Some(500)),
        ("1.5Gi", Some(1_610_612_736_000)),
        ("64Mi", Some(67_108_864_000)),
        ("1e3", Some(1_000_000)),
        ("2k", Some(2_000_000)),
        ("", None),
        ("x", None),
        ("1Xi", None),
        ("1e300", None),
    ] {
        assert_eq!(milli(&Quantity(text.into())), wanted, "{text:?}");
    }
    assert_eq!(units(&Quantity("1500m".into())), Some(2));
}
