use super::is_quantity;

#[test]
fn quantities() {
    for good in ["1", "500m", "1.5Gi", "-2", "+.5", "2e3", "1E-2", "1E", "1.", "0"] {
        assert!(is_quantity(good), "{good}");
    }
    for bad in ["", "m", "1x", "1.5.5", "e3", "-", ".", "1 Gi", "1ee2", "é"] {
        assert!(!is_quantity(bad), "{bad}");
    }
}
