//! Kubernetes quantities, as far as limits need them.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The value in thousandths; `None` when it is no quantity or absurdly large.
pub fn milli(quantity: &Quantity) -> Option<i64> {
    let text = quantity.0.trim();
    let end =
        text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-' && c != '+').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let factor = match &text[end..] {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let value = (number * factor * 1000.0).ceil();
    // Within what a double holds exactly, and far beyond any machine.
    (value.abs() < 9e18).then_some(value as i64)
}

/// The value in whole units, rounded up.
pub fn units(quantity: &Quantity) -> Option<i64> {
    milli(quantity).map(|m| m.div_euclid(1000) + i64::from(m.rem_euclid(1000) > 0))
}

#[cfg(test)]
mod tests;
