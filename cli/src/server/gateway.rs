//! `cella gateway`: one replica of the gateway as a process.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use ::store::backend::Store;
use ::store::counted::{Counted, Counts};
use ::store::tenant::TenantStore;
use ::store::tenant::admin::AdminStore;
use ::store::vault::Vault;
use anyhow::{Context, Result};
use base::config::{self, Reader, Setting};
use base::host::Host;
use base::real;
use tokio::net::TcpListener;

use super::{Given, Settings, homes, leave, store_place, until_told};
use crate::keys::{self, GatewayKeys};
use crate::store::{self, StoreArguments};

/// Audience of users' tokens.
pub const AUDIENCE: &str = "cella-gateway";

/// What a gateway can be told.
#[derive(Clone, Copy, Debug)]
pub struct Gateway;

impl Settings for Gateway {
    const PREFIX: &'static str = "CELLA_GATEWAY_";
    const ALL: &'static [Setting] = &[
        Setting {
            name: "listen",
            help: "Address and port of the API, https",
            default: Some("127.0.0.1:6443"),
        },
        Setting { name: "tls", help: "Folder of server.pem and server.key", default: None },
        Setting { name: "secrets", help: "File of this gateway's keys, for its owner only", default: None },
        Setting {
            name: "authority",
            help: "PEM of the authority that signs cells' certificates; without, only cells without TLS are called",
            default: None,
        },
        Setting { name: "store", help: "spanner://projects/P/instances/I/databases/D", default: None },
        Setting { name: "spanner-emulator", help: "HOST:PORT of an emulator (gRPC)", default: None },
        Setting { name: "spanner-emulator-rest", help: "HOST:PORT of an emulator (REST)", default: None },
        Setting { name: "home", help: "The Home that is in store", default: Some("global") },
        Setting {
            name: "homes",
            help: "Further Homes that this gateway may hold: HOME=spanner://…, with commas between",
            default: None,
        },
        Setting {
            name: "directory",
            help: "Database that says which Home a tenant lives in, spanner://…; without, all tenants are in store",
            default: None,
        },
        Setting {
            name: "elsewhere",
            help: "Gateways of other Homes, where their tenants are sent: HOME=https://…, with commas between",
            default: None,
        },
        Setting { name: "leave-with-stdin", help: "End when standard input ends", default: Some("false") },
    ];
}

/// Settings of a gateway.
pub struct Config {
    listen: String,
    tls: PathBuf,
    secrets: PathBuf,
    authority: Option<PathBuf>,
    store: StoreArguments,
    homes: Option<homes::Set>,
    leave_with_stdin: bool,
}

/// Reads them.
pub fn read(reader: &mut Reader) -> Option<Config> {
    // All of them before any is missed, so that all faults are told.
    let listen = reader.required("listen", config::text);
    let tls = reader.required("tls", config::path);
    let secrets = reader.required("secrets", config::path);
    let authority = reader.optional("authority", config::path);
    let store = store_place(reader);
    let homes = homes::read(reader);
    let leave_with_stdin = reader.required("leave-with-stdin", config::flag);
    Some(Config {
        listen: listen?,
        tls: tls?,
        secrets: secrets?,
        authority,
        store: store?,
        homes: homes?,
        leave_with_stdin: leave_with_stdin?,
    })
}

/// Runs a gateway until it is told to end.
///
/// # Errors
/// Says what is missing.
pub async fn run(given: &Given<Gateway>) -> Result<ExitCode> {
    let config = match given.read(read)? {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let secrets: GatewayKeys = keys::read(&config.secrets)?;
    let (host, jobs, net) = real::host_with_net();
    if let Some(authority) = &config.authority {
        let pem = std::fs::read_to_string(authority);
        let pem = pem.with_context(|| format!("cannot read {}", authority.display()))?;
        net.believe(base::tls::client(&pem)?);
    }
    let tls = base::tls::load(&config.tls)?;
    let listener = TcpListener::bind(&config.listen)
        .await
        .with_context(|| format!("{} cannot be used; choose another address with --listen", config.listen))?;
    let address = listener.local_addr()?;
    let (router, _opened) = match config.homes {
        Some(set) => {
            let made = homes::make(set, &config.store, &secrets, &host).await?;
            (gateway::router_of_homes(made.front, made.homes), made.opened)
        }
        None => {
            let opened = store::open(&config.store, Path::new(""), &host).await?;
            let app = app(&host, Counted::new(opened.store.clone()), secrets);
            (gateway::router(app), vec![opened])
        }
    };
    let (clock, listening) = (host.clock.clone(), jobs.clone());
    host.spawn("gateway", async move {
        if let Err(error) = base::serve::https(listener, tls.server, router, clock, listening).await {
            tracing::error!(%error, "the gateway's listener has failed");
        }
    });
    println!("gateway: https://{address}");
    let code = until_told(&jobs, config.leave_with_stdin).await?;
    leave(&jobs).await;
    Ok(code)
}

/// A gateway on a store whose commits are counted, those of others as well where they share it.
pub fn app(
    host: &Host,
    (store, commits): (Arc<Counted>, Arc<Counts>),
    secrets: GatewayKeys,
) -> Arc<gateway::App> {
    let store: Store = store;
    let app = gateway::App::new(gateway::Parts {
        host: host.clone(),
        tenants: TenantStore::new(store.clone(), host.clone()),
        vault: Arc::new(Vault::new(&secrets.vault)),
        keys: secrets.tokens,
        audience: AUDIENCE.to_owned(),
        peers: secrets.peers,
        page_key: secrets.pages,
        admin: AdminStore::new(store, host.clone()),
        admission: gateway::Admission::Tekton,
        commits,
    });
    app.cells.forward();
    app
}
