//! A gateway of several Homes: a database and an `App` for each, the directory in the global database, and addresses of
//! gateways of Homes that this one may not hold. Which Homes it holds is configuration alone: nothing at run time makes
//! it open another one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use base::config::Reader;
use base::host::Host;
use store::counted::Counted;
use store::directory::Directory;
use tenancy::id::HomeId;

use super::gateway::app;
use super::shared;
use crate::keys::GatewayKeys;
use crate::store::{self as stores, Opened, StoreArguments};

/// The Homes of a gateway, as they are set.
pub struct Set {
    /// The Home in `store`.
    home: HomeId,
    /// Databases of further Homes.
    further: BTreeMap<HomeId, String>,
    /// Database of the directory.
    directory: String,
    /// Gateways of other Homes.
    elsewhere: BTreeMap<HomeId, String>,
}

/// Reads the settings; `Some(None)`: the gateway has one Home, and there is no directory.
pub fn read(reader: &mut Reader) -> Option<Option<Set>> {
    let home = reader.required("home", |text| HomeId::parse(text).map_err(|error| error.to_string()));
    let directory = reader.optional("directory", shared);
    let further = reader.optional("homes", |text| pairs(text, shared));
    let elsewhere = reader.optional("elsewhere", |text| pairs(text, address));
    let home = home?;
    let Some(directory) = directory else {
        if further.is_some() || elsewhere.is_some() {
            reader.fault("homes and elsewhere need directory, the database that says where tenants live");
            return None;
        }
        return Some(None);
    };
    let further = further.unwrap_or_default();
    if further.contains_key(&home) {
        reader.fault(format!("homes names {home}, which is the one in store already"));
        return None;
    }
    Some(Some(Set { home, further, directory, elsewhere: elsewhere.unwrap_or_default() }))
}

/// `NAME=VALUE`, several of them with commas.
fn pairs(
    text: &str,
    value: impl Fn(&str) -> Result<String, String>,
) -> Result<BTreeMap<HomeId, String>, String> {
    let pair = |text: &str| {
        let (name, rest) =
            text.trim().split_once('=').ok_or("which is not HOME=VALUE, with commas between")?;
        let name = HomeId::parse(name).map_err(|error| error.to_string())?;
        Ok::<_, String>((name, value(rest)?))
    };
    text.split(',').map(pair).collect()
}

fn address(text: &str) -> Result<String, String> {
    let https = text.starts_with("https://") && !text.contains(char::is_whitespace);
    https.then(|| text.to_owned()).ok_or_else(|| "which is no https:// address of a gateway".to_owned())
}

/// What a gateway of several Homes is made of. The stores must live as long as it does.
pub struct Made {
    /// Answers what is about no tenant, and operators: the app of the first Home.
    pub front: Arc<gateway::App>,
    /// All of them.
    pub homes: Arc<gateway::homes::Homes>,
    /// Their stores.
    pub opened: Vec<Opened>,
}

/// Opens the databases and makes an app for each.
///
/// # Errors
/// Names the database.
pub async fn make(set: Set, place: &StoreArguments, keys: &GatewayKeys, host: &Host) -> Result<Made> {
    let Set { home, further, directory, elsewhere } = set;
    let mut all = vec![(home, place.store.clone())];
    all.extend(further);
    let (mut apps, mut opened, mut front, mut global) = (BTreeMap::new(), Vec::new(), None, None);
    for (home, database) in all {
        let store = open(&database, place, host).await?;
        if database == directory {
            global = Some(store.store.clone());
        }
        let made = app(host, Counted::new(store.store.clone()), keys.clone());
        front.get_or_insert_with(|| made.clone());
        apps.insert(home, made);
        opened.push(store);
    }
    let global = match global {
        Some(global) => global,
        None => {
            let store = open(&directory, place, host).await?;
            let global = store.store.clone();
            opened.push(store);
            global
        }
    };
    let directory = Directory::new(global, host.clone());
    let held: Vec<HomeId> = apps.keys().cloned().collect();
    let homes = store::homes::Homes::new(directory, host.clone(), held, elsewhere);
    let homes = gateway::homes::Homes::new(homes, apps);
    Ok(Made { front: front.context("a gateway has a Home")?, homes, opened })
}

async fn open(database: &str, place: &StoreArguments, host: &Host) -> Result<Opened> {
    let arguments = StoreArguments { store: database.to_owned(), ..place.clone() };
    stores::open(&arguments, Path::new(""), host).await.with_context(|| format!("cannot open {database}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_named_and_their_databases_are_shared_ones() {
        let found = pairs("eu=spanner://a, us=spanner://b", shared).unwrap();
        let names: Vec<String> = found.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["eu", "us"]);
        for wrong in ["eu", "eu=sqlite", "E U=spanner://a", ""] {
            assert!(pairs(wrong, shared).is_err(), "{wrong}");
        }
        assert!(pairs("eu=https://eu.example", address).is_ok());
        assert!(pairs("eu=http://eu.example", address).is_err());
    }
}
