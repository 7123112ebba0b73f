//! Where a tenant's data may be and its runs may go: what tenant, namespace and run say, all of it at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::RegionId;

/// Annotation of a namespace or a run: the only regions in which its runs may be, comma-separated. Each can only take
/// away from what the tenant may.
pub const RESIDENCY: &str = "cella.dev/residency";

/// Regions that are allowed. Nothing left is not the same as nothing said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Residency(Option<BTreeSet<String>>);

/// A residency that cannot be read. It is never taken for "anywhere".
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "annotation {RESIDENCY}: {0:?} is not the name of a region; write for example europe-west1,europe-west4"
)]
pub struct BadResidency(pub String);

impl Residency {
    /// Anywhere.
    pub const ANYWHERE: Self = Self(None);

    /// What the annotations of a namespace or a run say.
    ///
    /// # Errors
    /// Names what is no region.
    pub fn parse(annotations: &BTreeMap<String, String>) -> Result<Self, BadResidency> {
        let Some(text) = annotations.get(RESIDENCY) else { return Ok(Self::ANYWHERE) };
        let mut regions = BTreeSet::new();
        for region in text.split(',').map(str::trim) {
            RegionId::parse(region).map_err(|_| BadResidency(region.to_owned()))?;
            regions.insert(region.to_owned());
        }
        Ok(Self(Some(regions)))
    }

    /// What both allow.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (None, _) => other.clone(),
            (_, None) => self.clone(),
            (Some(a), Some(b)) => Self(Some(a.intersection(b).cloned().collect())),
        }
    }

    /// The regions that are allowed; `None`: any.
    pub fn regions(&self) -> Option<Vec<&str>> {
        Some(self.0.as_ref()?.iter().map(String::as_str).collect())
    }

    /// Whether something may be in this region.
    pub fn allows(&self, region: &str) -> bool {
        self.0.as_ref().is_none_or(|regions| regions.contains(region))
    }
}

impl From<Vec<String>> for Residency {
    /// As a tenant's row has it: empty is anywhere.
    fn from(regions: Vec<String>) -> Self {
        Self((!regions.is_empty()).then(|| regions.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests;
