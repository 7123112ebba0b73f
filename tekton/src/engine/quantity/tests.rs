use super::*;

fn spelled(text: &str) -> String {
    Quantity::parse(text).map_or("none".into(), |q| q.to_string())
}

#[test]
fn the_spelling_is_canonical() {
    for (text, expected) in [
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("512", "512"),
        ("2048Ki", "2Mi"),
        ("1000", "1k"),
        ("1e3", "1e3"),
        ("0", "0"),
        ("0Gi", "0"),
        ("100Ki", "100Ki"),
        ("-2", "-2"),
        (".5", "500m"),
        ("0.0000000001", "1n"),
    ] {
        assert_eq!(spelled(text), expected, "{text}");
    }
}

#[test]
fn what_is_no_quantity_is_refused() {
    for text in ["", "x", "1x", "1.2.3", ".", "1e", "1 Gi", "99999999999999999999999999999999999999999"] {
        assert_eq!(spelled(text), "none", "{text}");
    }
}

#[test]
fn shares_keep_the_format() {
    let total = Quantity::parse("1Gi").unwrap();
    assert_eq!(Quantity::units(total.value() / 3, total).to_string(), "357913941");
    assert_eq!(Quantity::units(total.value() / 2, total).to_string(), "512Mi");
    let cpu = Quantity::parse("1").unwrap();
    assert_eq!(Quantity::thousandths(cpu.milli() / 3, cpu).to_string(), "333m");
}
