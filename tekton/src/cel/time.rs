//! Timestamps and durations: their limits, their texts, and the parts of them.

use apimachinery::time::Micros;

use super::types::Value;

/// ns.
pub const SECOND: i128 = 1_000_000_000;
const DAY_S: i128 = 86_400;
/// 0001-01-01T00:00:00Z, seconds since 1970.
const FIRST_S: i128 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const LAST_S: i128 = 253_402_300_799;

/// A timestamp, if it is in the years that there are.
pub fn timestamp(nanos: i128) -> Result<Value, String> {
    let seconds = nanos.div_euclid(SECOND);
    if (FIRST_S..=LAST_S).contains(&seconds) {
        Ok(Value::Timestamp(nanos))
    } else {
        Err("timestamp overflow".into())
    }
}

/// A duration, if it is not too long.
pub fn duration(nanos: i128) -> Result<Value, String> {
    i64::try_from(nanos).map(Value::Duration).map_err(|_| "duration overflow".into())
}

/// ns since 1970 of a text in RFC 3339.
pub fn parse(text: &str) -> Option<i128> {
    let micros = Micros::parse(text)?;
    // Three more digits than are kept elsewhere.
    let digits = text.split_once('.').map_or("", |(_, rest)| rest);
    let finer: String =
        digits.chars().take_while(char::is_ascii_digit).skip(6).chain("000".chars()).take(3).collect();
    Some(i128::from(micros.0) * 1000 + finer.parse::<i128>().ok()?)
}

/// In RFC 3339, with as many digits as there are.
pub fn rfc3339(nanos: i128) -> String {
    let seconds = i64::try_from(nanos.div_euclid(SECOND)).unwrap_or(0);
    let text = Micros(seconds * 1_000_000).rfc3339();
    match nanos.rem_euclid(SECOND) {
        0 => text,
        part => {
            let digits = format!("{part:09}");
            format!("{}.{}Z", text.trim_end_matches('Z'), digits.trim_end_matches('0'))
        }
    }
}

/// A duration as text: seconds.
pub fn seconds(nanos: i64) -> String {
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (whole, part) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    if part == 0 {
        return format!("{sign}{whole}s");
    }
    let digits = format!("{part:09}");
    format!("{sign}{whole}.{}s", digits.trim_end_matches('0'))
}

/// A part of a timestamp, in a zone. None: there is no such part.
pub fn part(name: &str, nanos: i128, zone: &str) -> Option<Result<Value, String>> {
    let offset_s = match offset_s(zone) {
        Ok(offset_s) => offset_s,
        Err(why) => return Some(Err(why)),
    };
    let local = nanos + offset_s * SECOND;
    let (days, of_day) = (local.div_euclid(DAY_S * SECOND), local.rem_euclid(DAY_S * SECOND));
    let text = rfc3339(local);
    let number = |from: usize, to: usize| text.get(from..to).and_then(|part| part.parse::<i128>().ok());
    let first_day = || {
        let first = parse(&format!("{}-01-01T00:00:00Z", text.get(..4)?))?;
        Some(days - first.div_euclid(DAY_S * SECOND))
    };
    let found = match name {
        "getFullYear" => number(0, 4),
        "getMonth" => number(5, 7).map(|month| month - 1),
        "getDate" => number(8, 10),
        "getDayOfMonth" => number(8, 10).map(|day| day - 1),
        // 1970 began on a Thursday.
        "getDayOfWeek" => Some((days + 4).rem_euclid(7)),
        "getDayOfYear" => first_day(),
        "getHours" => Some(of_day / (3600 * SECOND)),
        "getMinutes" => Some(of_day / (60 * SECOND) % 60),
        "getSeconds" => Some(of_day / SECOND % 60),
        "getMilliseconds" => Some(of_day / 1_000_000 % 1000),
        _ => return None,
    };
    let found = found.and_then(|n| i64::try_from(n).ok());
    Some(found.map(Value::Int).ok_or_else(|| "timestamp overflow".into()))
}

/// A zone as seconds east of UTC: `UTC`, `Z`, or an offset such as `+01:00`.
fn offset_s(zone: &str) -> Result<i128, String> {
    if matches!(zone, "" | "UTC" | "Z") {
        return Ok(0);
    }
    let (sign, rest) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let parts =
        rest.split_once(':').and_then(|(h, m)| Some((h.parse::<i128>().ok()?, m.parse::<i128>().ok()?)));
    match parts {
        Some((hours, minutes)) => Ok(sign * (hours * 3600 + minutes * 60)),
        None => Err(format!("unknown time zone {zone}: zones are UTC or an offset such as +01:00 here")),
    }
}

/// A part of a duration, the whole of it in that unit.
pub fn part_of_duration(name: &str, nanos: i64) -> Option<Value> {
    let unit = match name {
        "getHours" => 3_600_000_000_000,
        "getMinutes" => 60_000_000_000,
        "getSeconds" => 1_000_000_000,
        "getMilliseconds" => 1_000_000,
        _ => return None,
    };
    Some(Value::Int(nanos / unit))
}
