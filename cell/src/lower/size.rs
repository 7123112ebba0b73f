//! How big a machine a Pod asks for.

use serde_json::Value;
use store::cell::MachineSize;

use super::list;

/// The machine for `pod`: the sum of what its containers ask for, or more if one init container asks for more.
pub(crate) fn machine(pod: &Value) -> MachineSize {
    let sum = |resource: &str| {
        let of = |container: &Value| {
            container["resources"]["requests"][resource].as_str().and_then(milli).unwrap_or(0)
        };
        let (stays, passes): (Vec<&Value>, Vec<&Value>) =
            list(&pod["spec"]["initContainers"]).iter().partition(|c| c["restartPolicy"] == "Always");
        let sidecars: u128 = stays.into_iter().map(of).sum();
        let containers: u128 = list(&pod["spec"]["containers"]).iter().map(of).sum();
        let init = passes.into_iter().map(of).max().unwrap_or(0);
        (sidecars + containers).max(sidecars + init)
    };
    let whole = |milli: u128| u64::try_from(milli.div_ceil(1000)).unwrap_or(u64::MAX);
    MachineSize { millicpu: u64::try_from(sum("cpu")).unwrap_or(u64::MAX), memory: whole(sum("memory")) }
}

/// A Kubernetes quantity in thousandths; `None` when it is none.
pub(crate) fn milli(text: &str) -> Option<u128> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(at);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let factor: u128 = match suffix {
        "" => 1000,
        "m" => 1,
        "k" => 1000 * 1000,
        "M" => 1000 * 1000_u128.pow(2),
        "G" => 1000 * 1000_u128.pow(3),
        "T" => 1000 * 1000_u128.pow(4),
        "P" => 1000 * 1000_u128.pow(5),
        "Ki" => 1000 * 1024,
        "Mi" => 1000 * 1024_u128.pow(2),
        "Gi" => 1000 * 1024_u128.pow(3),
        "Ti" => 1000 * 1024_u128.pow(4),
        "Pi" => 1000 * 1024_u128.pow(5),
        exponent => {
            let power: u32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            1000 * 10_u128.checked_pow(power)?
        }
    };
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = fraction.get(..fraction.len().min(9))?;
    let part: u128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let part = part.checked_mul(factor)?.div_ceil(10_u128.pow(u32::try_from(digits.len()).ok()?));
    whole.checked_mul(factor)?.checked_add(part)
}
