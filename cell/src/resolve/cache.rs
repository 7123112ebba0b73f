//! What was resolved and cannot change: kept for a while, per tenant, so that no tenant learns from how fast an answer
//! comes what another one has fetched, or is shown what it had no credentials for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apimachinery::time::Micros;
use base::host::Mono;

use super::ask::{Found, Params, Resolver};
use super::settings::Map;

/// Bytes kept of one tenant, and of all of them.
const TENANT_BYTES_MAX: usize = 16 << 20;
const BYTES_MAX: usize = 128 << 20;

/// When what is resolved is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Always.
    Always,
    /// Never.
    Never,
    /// When it cannot change.
    Auto,
}

/// The mode that a request or its resolver's settings ask for.
///
/// # Errors
/// The reference's text.
pub fn mode(params: &Params, map: &Map) -> Result<Mode, String> {
    let parse = |text: &str| match text {
        "always" => Some(Mode::Always),
        "never" => Some(Mode::Never),
        "auto" => Some(Mode::Auto),
        _ => None,
    };
    match params.get("cache").filter(|text| !text.is_empty()) {
        Some(text) => parse(text).ok_or_else(|| {
            format!("invalid cache mode '{text}', must be one of: [always never auto] (or empty for default)")
        }),
        None => Ok(map.get("default-cache-mode").and_then(|text| parse(text)).unwrap_or(Mode::Auto)),
    }
}

/// Identity of an answer: tenant, namespace (credentials are a namespace's), resolver, params.
type Key = (String, String, Resolver, Params);

struct Entry {
    found: Found,
    until: Mono,
    /// Larger is younger.
    used: u64,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    uses: u64,
}

/// The cache.
#[derive(Default)]
pub struct Cache(Mutex<State>);

/// The identity of a request's answer.
pub fn key(tenant: &str, namespace: &str, resolver: Resolver, params: &Params) -> Key {
    let mut params = params.clone();
    params.remove("cache");
    (tenant.to_owned(), namespace.to_owned(), resolver, params)
}

impl Cache {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept under `key`, and still counts.
    pub fn get(&self, key: &Key, now: Mono) -> Option<Found> {
        let state = &mut *self.state();
        state.uses += 1;
        let entry = state.entries.get_mut(key)?;
        if entry.until <= now {
            state.entries.remove(key);
            return None;
        }
        entry.used = state.uses;
        Some(entry.found.clone())
    }

    /// Keeps `found`, and no more than `most` of that tenant.
    pub fn put(&self, key: Key, found: Found, now: Mono, most: usize, life: Duration) {
        let state = &mut *self.state();
        state.uses += 1;
        let life = u64::try_from(life.as_micros()).unwrap_or(u64::MAX);
        let until = Mono(now.0.saturating_add(life));
        state.entries.retain(|_, entry| entry.until > now);
        let tenant = key.0.clone();
        state.entries.insert(key, Entry { found, until, used: state.uses });
        state.shrink(|key| key.0 == tenant, most, TENANT_BYTES_MAX);
        state.shrink(|_| true, usize::MAX, BYTES_MAX);
    }
}

impl State {
    /// Drops what was not used for longest of `which`, until so many entries and bytes are left.
    fn shrink(&mut self, which: impl Fn(&Key) -> bool, most: usize, bytes: usize) {
        let mut of: Vec<(u64, Key, usize)> = self
            .entries
            .iter()
            .filter(|(key, _)| which(key))
            .map(|(key, entry)| (entry.used, key.clone(), entry.found.data.len()))
            .collect();
        let mut sum: usize = of.iter().map(|(_, _, length)| length).sum();
        if of.len() <= most && sum <= bytes {
            return;
        }
        of.sort();
        let mut left = of.len();
        for (_, key, length) in of {
            if left <= most && sum <= bytes {
                break;
            }
            self.entries.remove(&key);
            left -= 1;
            sum -= length;
        }
    }
}

/// What the reference says of an answer that was kept, or put, in the cache.
pub fn annotate(found: &mut Found, resolver: Resolver, operation: &str, now_us: i64) {
    let mut set = |name: &str, value: &str| {
        found.annotations.insert(format!("resolution.tekton.dev/{name}"), value.to_owned());
    };
    set("cached", "true");
    set("cache-timestamp", &Micros(now_us).rfc3339());
    set("cache-resolver-type", resolver.kind());
    set("cache-operation", operation);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Found {
        Found { data: text.into(), ..Found::default() }
    }

    fn params(revision: &str) -> Params {
        [("revision".to_owned(), revision.to_owned())].into()
    }

    #[test]
    fn what_is_kept_is_a_tenants_own_and_grows_old() {
        let cache = Cache::default();
        let of = |tenant: &str, revision: &str| key(tenant, "default", Resolver::Git, &params(revision));
        let life = Duration::from_micros(10);
        cache.put(of("acme", "a"), found("x"), Mono(5), 2, life);
        assert_eq!(cache.get(&of("acme", "a"), Mono(14)), Some(found("x")));
        assert_eq!(cache.get(&of("umbrella", "a"), Mono(14)), None);
        assert_eq!(cache.get(&of("acme", "a"), Mono(15)), None);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let cache = Cache::default();
        let of = |revision: &str| key("acme", "default", Resolver::Git, &params(revision));
        let life = Duration::from_secs(1);
        for revision in ["a", "b"] {
            cache.put(of(revision), found(revision), Mono(0), 2, life);
        }
        assert!(cache.get(&of("a"), Mono(1)).is_some());
        cache.put(of("c"), found("c"), Mono(1), 2, life);
        let left = ["a", "b", "c"].map(|revision| cache.get(&of(revision), Mono(1)).is_some());
        assert_eq!(left, [true, false, true]);
    }

    #[test]
    fn modes_are_read() {
        let own = |text: &str| [("cache".to_owned(), text.to_owned())].into();
        let map: Map = [("default-cache-mode".to_owned(), "never".to_owned())].into();
        assert_eq!(mode(&own("always"), &map), Ok(Mode::Always));
        assert_eq!(mode(&own(""), &map), Ok(Mode::Never));
        assert_eq!(mode(&Params::new(), &Map::new()), Ok(Mode::Auto));
        assert_eq!(
            mode(&own("x"), &map).unwrap_err(),
            "invalid cache mode 'x', must be one of: [always never auto] (or empty for default)"
        );
    }
}
