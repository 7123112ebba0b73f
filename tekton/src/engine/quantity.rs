//! Kubernetes quantities: `500m`, `1.5Gi`, `2e3`; arithmetic as the reference's library does it, and the canonical
//! spelling that it writes.

use serde_json::Value;

const NANOS: i128 = 1_000_000_000;
/// Largest decimal shift that a quantity may have; what is beyond it is no amount of anything.
const EXPONENT_MAX: i32 = 18;

/// How a quantity is spelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `1k`, `500m`.
    Decimal,
    /// `1Ki`.
    Binary,
    /// `1e3`.
    Exponent,
}

/// An amount of a resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quantity {
    /// The amount in billionths: nothing finer exists.
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Nothing of a resource.
    pub const ZERO: Self = Self { nanos: 0, format: Format::Decimal };

    /// A quantity as it stands in a document: a text or a number; `None` when it is neither.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    /// Reads a quantity; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && part.is_empty() || part.contains('.') {
            return None;
        }
        let digits: i128 = format!("0{whole}{part}").parse().ok()?;
        let (factor, exponent, format) = scale(suffix)?;
        let exponent = exponent - i32::try_from(part.len()).ok()? + 9;
        let scaled = digits.checked_mul(factor)?;
        let nanos = if exponent >= 0 {
            scaled.checked_mul(10_i128.checked_pow(exponent.unsigned_abs())?)?
        } else {
            // Finer than a billionth: up.
            ceil(scaled, 10_i128.checked_pow(exponent.unsigned_abs())?)
        };
        Some(Self { nanos: sign * nanos, format })
    }

    /// Whole units, rounded up.
    pub fn value(self) -> i128 {
        ceil(self.nanos, NANOS)
    }

    /// Thousandths, rounded up.
    pub fn milli(self) -> i128 {
        ceil(self.nanos, NANOS / 1000)
    }

    /// So many units, spelled as `like` is.
    pub fn units(units: i128, like: Self) -> Self {
        Self { nanos: units * NANOS, format: like.format }
    }

    /// So many thousandths, spelled as `like` is.
    pub fn thousandths(milli: i128, like: Self) -> Self {
        Self { nanos: milli * (NANOS / 1000), format: like.format }
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is more than `other`.
    pub fn exceeds(self, other: Self) -> bool {
        self.nanos > other.nanos
    }

    /// The larger of two; the first when they are equal.
    pub fn larger(self, other: Self) -> Self {
        if other.nanos > self.nanos { other } else { self }
    }
}

/// The canonical spelling: no fraction, the largest suffix that needs none.
impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let small = self.nanos.abs() < 1024 * NANOS;
        // What is no whole number of bytes would lose something.
        let whole = self.nanos % NANOS == 0;
        if self.format == Format::Binary && !small && whole {
            let (mut number, mut step) = (self.value(), 0);
            while number % 1024 == 0 && step + 1 < BINARY.len() {
                number /= 1024;
                step += 1;
            }
            return write!(f, "{number}{}", BINARY[step]);
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let (mut number, mut step) = (self.nanos, 0);
        while number % 1000 == 0 && step + 1 < DECIMAL.len() {
            number /= 1000;
            step += 1;
        }
        match (self.format, DECIMAL[step]) {
            (Format::Exponent, suffix) if !suffix.is_empty() => {
                write!(f, "{number}e{}", (step as i64 - 3) * 3)
            }
            (_, suffix) => write!(f, "{number}{suffix}"),
        }
    }
}

/// Factor, decimal exponent and format of a suffix.
fn scale(suffix: &str) -> Option<(i128, i32, Format)> {
    let binary = |power: u32| (1024_i128.pow(power), 0, Format::Binary);
    let decimal = |exponent: i32| (1, exponent, Format::Decimal);
    Some(match suffix {
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (exponent.abs() <= EXPONENT_MAX).then_some((1, exponent, Format::Exponent))?
        }
    })
}

/// `number / divisor`, away from zero.
fn ceil(number: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (number / divisor, number % divisor);
    if rest == 0 { quotient } else { quotient + number.signum() }
}

#[cfg(test)]
mod tests;
