//! Where a run goes: a pure function of what it asks for and what the cells say of themselves, with reasons.
//!
//! Hard rules first (residency, regions of a strict request, architecture), then health, drain and room, then the
//! order of preference, then spread. A run that no cell can ever take is refused; one that none can take *now* is
//! placed where it may go, and the explanation says what it waits for.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::residency::{BadResidency, Residency};

/// Annotation: regions in order of preference, comma-separated.
pub const REGIONS: &str = "cella.dev/regions";
/// Annotation: `strict` (only those regions), `prefer` (those first; the default when regions are named), `any`.
pub const PLACEMENT: &str = "cella.dev/placement";
/// Annotation: how long a run that has not started waits for a machine in its cell before it is placed again where
/// there is room: `30s`, `5m`.
pub const MAX_WAIT: &str = "cella.dev/max-wait";
/// A cell that has been silent for longer is not placed on, µs.
pub const SILENT_US: i64 = 15_000_000;
/// Earlier placements that an explanation keeps.
pub const EARLIER_MAX: usize = 16;

/// How binding the regions of a request are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Only there.
    Strict,
    /// There first, elsewhere if need be.
    Prefer,
    /// Wherever there is room.
    Any,
}

/// What a run asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Regions, the most wanted first.
    pub regions: Vec<String>,
    /// How binding they are.
    pub mode: Mode,
    /// Regions that tenant, namespace and run allow together.
    pub residency: Residency,
    /// A claim of the run whose volume exists, and the cell that has it.
    pub volume: Option<(String, String)>,
    /// How long it waits for a machine before it is placed again, µs; `None`: for ever.
    pub max_wait_us: Option<i64>,
}

/// What is known of a cell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CellView {
    /// Its id.
    pub cell: String,
    /// Its region.
    pub region: String,
    /// Last heartbeat, µs since 1970.
    pub heard_us: i64,
    /// Takes no new runs.
    pub draining: bool,
    /// Machines now.
    pub machines: u32,
    /// Most machines.
    pub machines_max: u32,
}

/// A request that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadRequest {
    /// `cella.dev/placement` is none of its words.
    #[error("annotation {PLACEMENT}: {0:?} is not one of strict, prefer, any")]
    Mode(String),
    /// A region is no region's name.
    #[error(
        "annotation {REGIONS}: {0:?} is not the name of a region; write for example europe-west1,europe-west4"
    )]
    Region(String),
    /// `cella.dev/residency` names something that is no region.
    #[error(transparent)]
    Residency(#[from] BadResidency),
    /// `cella.dev/max-wait` is no time.
    #[error("annotation {MAX_WAIT}: {0:?} is not a time; write for example 30s, 5m or 1h30m")]
    Wait(String),
    /// `strict` without regions.
    #[error("annotation {PLACEMENT}: strict needs annotation {REGIONS}")]
    StrictNowhere,
}

impl Request {
    /// Reads the annotations of a run; `residency` is what its tenant and its namespace allow.
    ///
    /// # Errors
    /// Names the annotation, its value, and what would be right.
    pub fn parse(
        annotations: &BTreeMap<String, String>,
        residency: impl Into<Residency>,
    ) -> Result<Self, BadRequest> {
        let residency = residency.into().and(&Residency::parse(annotations)?);
        let mut regions = Vec::new();
        for region in annotations.get(REGIONS).map_or("", String::as_str).split(',').map(str::trim) {
            if region.is_empty() {
                continue;
            }
            crate::id::RegionId::parse(region).map_err(|_| BadRequest::Region(region.to_owned()))?;
            regions.push(region.to_owned());
        }
        let mode = match annotations.get(PLACEMENT).map(String::as_str) {
            None | Some("") if regions.is_empty() => Mode::Any,
            None | Some("" | "prefer") => Mode::Prefer,
            Some("strict") if regions.is_empty() => return Err(BadRequest::StrictNowhere),
            Some("strict") => Mode::Strict,
            Some("any") => Mode::Any,
            Some(other) => return Err(BadRequest::Mode(other.to_owned())),
        };
        let wait = annotations.get(MAX_WAIT).filter(|wait| !wait.is_empty());
        let max_wait_us =
            wait.map(|wait| seconds(wait).ok_or_else(|| BadRequest::Wait(wait.clone()))).transpose()?;
        let max_wait_us = max_wait_us.map(|s| s.saturating_mul(1_000_000));
        Ok(Self { regions, mode, residency, volume: None, max_wait_us })
    }

    /// In words: where it may go, for whoever wants to change that.
    pub fn limits(&self) -> String {
        let mut limits = Vec::new();
        if self.mode == Mode::Strict {
            limits.push(format!(
                "annotation {PLACEMENT} is strict and {REGIONS} is {}",
                self.regions.join(",")
            ));
        }
        if let Some(regions) = self.residency.regions() {
            limits.push(format!("residency allows {}", regions.join(",")));
        }
        if let Some((claim, cell)) = &self.volume {
            limits.push(format!("the volume of its claim {claim:?} is in cell {cell}"));
        }
        if limits.is_empty() { "it may go anywhere".into() } else { limits.join(", and ") }
    }
}

/// Seconds of `90`, `30s`, `5m`, `1h30m`.
fn seconds(text: &str) -> Option<i64> {
    let (mut total, mut number) = (0_i64, None::<i64>);
    for c in text.chars() {
        match (c, c.to_digit(10)) {
            (_, Some(digit)) => {
                number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(i64::from(digit))?);
            }
            ('s' | 'm' | 'h', None) => {
                let factor = match c {
                    's' => 1,
                    'm' => 60,
                    _ => 3600,
                };
                total = total.checked_add(number.take()?.checked_mul(factor)?)?;
            }
            _ => return None,
        }
    }
    match number {
        Some(bare) if total == 0 => Some(bare),
        None if !text.is_empty() => Some(total),
        _ => None,
    }
}

/// Why a cell was not chosen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The residency of tenant, namespace and run does not allow its region.
    Residency,
    /// The run asks for other regions only.
    Region,
    /// A volume of the run is in another cell.
    Volume,
    /// It has been silent for too long.
    Silent,
    /// It takes no new runs.
    Draining,
    /// It is full.
    Full,
    /// Another one suits better.
    LessWanted,
}

impl Refusal {
    /// Nothing that passes with time.
    fn for_good(self) -> bool {
        matches!(self, Refusal::Residency | Refusal::Region | Refusal::Volume)
    }
}

/// A decision with its reasons, as it is kept on the run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Placed {
    /// The cell.
    pub cell: String,
    /// Its region.
    pub region: String,
    /// Why this one, in words.
    pub because: String,
    /// What it waits for, when the cell cannot take it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Every other cell and why not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, Refusal>,
    /// When, µs since 1970.
    #[serde(default)]
    pub at_us: i64,
    /// Where the run was before, the first placement first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
}

/// A placement that was given up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Earlier {
    /// The cell.
    pub cell: String,
    /// When it was chosen, µs since 1970.
    pub at_us: i64,
    /// Why that one, in words.
    pub because: String,
    /// Why the run did not stay there.
    pub left: String,
}

impl Placed {
    /// This placement, after `before`, which was given up because of `left`.
    #[must_use]
    pub fn after(mut self, before: Placed, left: &str) -> Self {
        self.earlier = before.earlier;
        let (cell, at_us, because) = (before.cell, before.at_us, before.because);
        self.earlier.push(Earlier { cell, at_us, because, left: left.to_owned() });
        let surplus = self.earlier.len().saturating_sub(EARLIER_MAX);
        self.earlier.drain(..surplus);
        self
    }
}

/// No cell can ever take the run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unplaceable {
    /// Every cell and why not.
    pub refused: BTreeMap<String, Refusal>,
    /// Regions that there are and that residency allows.
    pub possible: Vec<String>,
    /// Regions that were asked for.
    pub asked: Vec<String>,
    /// A claim of the run, and the cell that has its volume.
    pub volume: Option<(String, String)>,
}

impl std::error::Error for Unplaceable {}

impl fmt::Display for Unplaceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = if self.asked.is_empty() { "any region".to_owned() } else { self.asked.join(", ") };
        write!(f, "no cell can take this run: it asks for {asked}")?;
        if let Some((claim, cell)) = &self.volume {
            write!(f, ", and the volume of its claim {claim:?} is in cell {cell}, where it stays")?;
        }
        match self.possible.as_slice() {
            [] => write!(
                f,
                "; there is no cell in a region that the residency of tenant, namespace and run allows"
            ),
            possible => write!(f, "; possible regions are {}", possible.join(", ")),
        }
    }
}

/// Chooses a cell. `random` decides between two that suit equally well (power of two choices against herds).
///
/// # Errors
/// [`Unplaceable`] when no cell can ever take it.
pub fn place(request: &Request, cells: &[CellView], now_us: i64, random: u64) -> Result<Placed, Unplaceable> {
    let verdicts: Vec<_> = cells.iter().map(|cell| (cell, refusal(request, cell, now_us))).collect();
    let best = |fit: &dyn Fn(&Option<Refusal>) -> bool| -> Option<&CellView> {
        let fitting: Vec<_> = verdicts.iter().filter(|(_, v)| fit(v)).map(|(c, _)| *c).collect();
        let first = fitting.iter().map(|c| rank(request, c)).min()?;
        let equal: Vec<_> = fitting.into_iter().filter(|c| rank(request, c) == first).collect();
        let pick = |n: u64| equal[usize::try_from(n % equal.len() as u64).unwrap_or(0)];
        let (a, b) = (pick(random), pick(random >> 32));
        // The emptier of two that chance has picked.
        Some(if load(b) < load(a) { b } else { a })
    };
    let now = best(&|verdict| verdict.is_none());
    let Some(chosen) = now.or_else(|| best(&|verdict| verdict.is_some_and(|r| !r.for_good()))) else {
        return Err(unplaceable(request, &verdicts));
    };
    let waits_for =
        verdicts.iter().find(|(c, _)| c.cell == chosen.cell).and_then(|(_, v)| *v).map(|why| match why {
            Refusal::Silent => format!("cell {} to be heard of again", chosen.cell),
            Refusal::Draining => format!("cell {} to take new runs again", chosen.cell),
            _ => format!("a free machine in cell {}", chosen.cell),
        });
    let of_volume =
        request.volume.as_ref().map(|(claim, _)| format!("the volume of claim {claim:?} is there"));
    let because = of_volume.unwrap_or_else(|| {
        match (request.mode, request.regions.iter().position(|r| *r == chosen.region)) {
            (Mode::Strict, _) => format!("the run may only go to {}", request.regions.join(", ")),
            (Mode::Prefer, Some(0)) => format!("{} is the preferred region", chosen.region),
            (Mode::Prefer, Some(n)) => format!("{} is preference number {}", chosen.region, n + 1),
            (Mode::Prefer, None) => "no preferred region can take it now".to_owned(),
            (Mode::Any, _) => {
                format!("any region; {} of {} machines busy there", chosen.machines, chosen.machines_max)
            }
        }
    });
    let refused = verdicts
        .iter()
        .filter(|(c, _)| c.cell != chosen.cell)
        .map(|(c, v)| (c.cell.clone(), v.unwrap_or(Refusal::LessWanted)))
        .collect();
    Ok(Placed {
        cell: chosen.cell.clone(),
        region: chosen.region.clone(),
        because,
        waits_for,
        refused,
        at_us: now_us,
        earlier: Vec::new(),
    })
}

fn refusal(request: &Request, cell: &CellView, now_us: i64) -> Option<Refusal> {
    if !request.residency.allows(&cell.region) {
        Some(Refusal::Residency)
    } else if request.mode == Mode::Strict && !request.regions.contains(&cell.region) {
        Some(Refusal::Region)
    } else if request.volume.as_ref().is_some_and(|(_, there)| *there != cell.cell) {
        Some(Refusal::Volume)
    } else if now_us - cell.heard_us > SILENT_US {
        Some(Refusal::Silent)
    } else if cell.draining {
        Some(Refusal::Draining)
    } else if cell.machines >= cell.machines_max {
        Some(Refusal::Full)
    } else {
        None
    }
}

/// Place in the order of preference; smaller is better.
fn rank(request: &Request, cell: &CellView) -> usize {
    if request.mode == Mode::Any {
        return 0;
    }
    request.regions.iter().position(|r| *r == cell.region).unwrap_or(request.regions.len())
}

/// Share of machines in use, in thousandths.
fn load(cell: &CellView) -> u64 {
    u64::from(cell.machines) * 1000 / u64::from(cell.machines_max.max(1))
}

fn unplaceable(request: &Request, verdicts: &[(&CellView, Option<Refusal>)]) -> Unplaceable {
    let allowed =
        verdicts.iter().filter(|(_, v)| *v != Some(Refusal::Residency)).map(|(c, _)| c.region.clone());
    let possible: std::collections::BTreeSet<_> = allowed.collect();
    Unplaceable {
        refused: verdicts.iter().filter_map(|(c, v)| Some((c.cell.clone(), (*v)?))).collect(),
        possible: possible.into_iter().collect(),
        asked: request.regions.clone(),
        volume: request.volume.clone(),
    }
}

#[cfg(test)]
mod tests;
