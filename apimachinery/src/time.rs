//! Points in time and spans of time as Kubernetes writes them. Time is µs since 1970 here.

use std::fmt;

/// A point in time: µs since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Micros(pub i64);

const SECOND: i64 = 1_000_000;
const DAY_S: i64 = 86_400;

impl Micros {
    /// `2006-01-02T15:04:05Z`: how `metav1.Time` is written. Parts of a second are dropped.
    pub fn rfc3339(self) -> String {
        let seconds = self.0.div_euclid(SECOND);
        let (year, month, day) = civil(seconds.div_euclid(DAY_S));
        let rest = seconds.rem_euclid(DAY_S);
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
    }

    /// `2006-01-02T15:04:05.000000Z`: how `metav1.MicroTime` is written.
    pub fn rfc3339_micros(self) -> String {
        let mut text = self.rfc3339();
        text.pop();
        format!("{text}.{:06}Z", self.0.rem_euclid(SECOND))
    }

    /// Reads RFC 3339 with any offset and any number of fraction digits; finer than µs is dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let b = text.as_bytes();
        let digits = |from: usize, to: usize| -> Option<i64> {
            let part = b.get(from..to)?;
            part.iter().all(u8::is_ascii_digit).then_some(())?;
            std::str::from_utf8(part).ok()?.parse().ok()
        };
        let sep = |at: usize, c: &[u8]| b.get(at).is_some_and(|x| c.contains(x)).then_some(());
        sep(4, b"-")?;
        sep(7, b"-")?;
        sep(10, b"Tt")?;
        sep(13, b":")?;
        sep(16, b":")?;
        let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
        let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
        if !(1..=12).contains(&month) || day < 1 || day > month_days(year, month) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let (fraction, zone_at) = fraction(b, 19)?;
        let offset_s = zone(b, zone_at)?;
        let seconds = days(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second - offset_s;
        Some(Self(seconds * SECOND + fraction))
    }

    /// This moment without its part of a second.
    pub fn whole_seconds(self) -> Self {
        Self(self.0 - self.0.rem_euclid(SECOND))
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

fn fraction(b: &[u8], at: usize) -> Option<(i64, usize)> {
    if b.get(at) != Some(&b'.') {
        return Some((0, at));
    }
    let mut value = 0;
    let mut scale = SECOND / 10;
    let mut end = at + 1;
    while let Some(c) = b.get(end).filter(|c| c.is_ascii_digit()) {
        value += i64::from(c - b'0') * scale;
        scale /= 10;
        end += 1;
    }
    (end > at + 1).then_some((value, end))
}

fn zone(b: &[u8], at: usize) -> Option<i64> {
    let two = |from: usize| -> Option<i64> {
        let part = b.get(from..from + 2)?;
        part.iter()
            .all(u8::is_ascii_digit)
            .then(|| i64::from(part[0] - b'0') * 10 + i64::from(part[1] - b'0'))
    };
    match b.get(at..)? {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (two(at + 1)?, two(at + 4)?);
            (hours < 24 && minutes < 60).then_some(())?;
            let offset = hours * 3600 + minutes * 60;
            Some(if *sign == b'-' { -offset } else { offset })
        }
        _ => None,
    }
}

/// Days since 1970 of a date (proleptic Gregorian, years counted from March).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * of_year + 2) / 153;
    let day = of_year - (153 * m + 2) / 5 + 1;
    let month = if m < 10 { m + 3 } else { m - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A span as tables show it: `5s`, `3m10s`, `5h`, `2d3h`, `400d`, `3y`. Negative spans are `<invalid>`.
pub fn human_duration(micros: i64) -> String {
    let s = micros / SECOND;
    if s < -1 {
        return "<invalid>".to_owned();
    }
    if s < 0 {
        return "0s".to_owned();
    }
    let (m, h, d) = (s / 60, s / 3600, s / DAY_S);
    let pair = |a: i64, unit: char, b: i64, small: char| {
        if b == 0 { format!("{a}{unit}") } else { format!("{a}{unit}{b}{small}") }
    };
    match () {
        () if s < 120 => format!("{s}s"),
        () if m < 10 => pair(m, 'm', s % 60, 's'),
        () if m < 180 => format!("{m}m"),
        () if h < 8 => pair(h, 'h', m % 60, 'm'),
        () if h < 48 => format!("{h}h"),
        () if h < 24 * 8 => pair(d, 'd', h % 24, 'h'),
        () if h < 24 * 365 * 2 => format!("{d}d"),
        () if h < 24 * 365 * 8 => pair(d / 365, 'y', d % 365, 'd'),
        () => format!("{}y", d / 365),
    }
}

/// A span in ns as Go writes it: `1h0m0s`, `1m30s`, `1.5s`, `300ms`, `0s`.
pub fn go_duration(nanos: i64) -> String {
    let abs = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    if abs == 0 {
        return "0s".to_owned();
    }
    if abs < 1_000_000_000 {
        let (unit, scale) = match abs {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(abs, scale));
    }
    let minutes = abs / 60_000_000_000;
    let seconds = decimal(abs % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, m) => format!("{sign}{m}m{seconds}s"),
        (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
    }
}

fn decimal(value: u64, scale: u64) -> String {
    let (whole, part) = (value / scale, value % scale);
    if part == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    let digits = format!("{part:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// Reads a Go duration (`1h30m`, `1.5s`, `-2m`, `0`) into ns. [`None`]: not one, or too large.
pub fn parse_go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_len = rest.bytes().take_while(|c| c.is_ascii_digit() || *c == b'.').count();
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.bytes().take_while(|c| !c.is_ascii_digit() && *c != b'.').count();
        let (unit, tail) = tail.split_at(unit_len);
        total = total.checked_add(span(number, unit)?)?;
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn span(number: &str, unit: &str) -> Option<i128> {
    let scale: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || whole.len() > 19 || part.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // More digits than this are finer than any unit's nanosecond.
    let part = &part[..part.len().min(18)];
    let fraction: i128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    Some(whole * scale + fraction * scale / 10_i128.pow(u32::try_from(part.len()).ok()?))
}

#[cfg(test)]
mod tests;
