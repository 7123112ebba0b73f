//! What is pinned to a jurisdiction is nowhere else: two databases on one emulator, gateways as processes. Searched are
//! every byte of the global database, the whole memory of a foreign gateway (so also its caches), and its log.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base::host::Host;
use cli::client::{Access, Client, Refused};
use cli::keys;
use cli::server::gateway::AUDIENCE;
use http::Method;
use integration::commands::Tools;
use integration::server::Store as Kind;
use serde_json::{Value, json};
use spanner::Settings;
use store::backend::{Op, Pre, RequestId, Store, Txn};
use store::directory::Directory;
use store::records::cell::{CellRow, row};
use store::records::encode;
use tenancy::access::{Caller, Role};
use tenancy::id::{HomeId, TenantId};

use crate::homes::{CONFIGS, NEEDLES, RUNS, config, run};

/// What a needle begins with, so that one pass over a memory finds all of them.
const STEM: &[u8] = b"zyx";
/// All that our own crates have to say, and what an operator could ask of the others without drowning.
const LOG: &str = "debug,gateway=trace,store=trace,spanner=trace,cli=trace,base=trace,tenancy=trace";
/// Most of a memory that is looked at at one time.
const PIECE: usize = 1 << 20;

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn found_in(bytes: &[u8]) -> Vec<&'static str> {
    let at = bytes.windows(STEM.len()).enumerate().filter(|(_, w)| *w == STEM).map(|(at, _)| at);
    let mut found: Vec<_> =
        at.filter_map(|at| NEEDLES.into_iter().find(|n| bytes[at..].starts_with(n.as_bytes()))).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Needles in everything that a process can read of its memory.
fn found_in_memory(pid: u32) -> Vec<&'static str> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let (mut found, mut bytes, mut looked) = (Vec::new(), vec![0; PIECE], 0_usize);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (Some((from, to)), Some(rights)) = (words.next().and_then(|w| w.split_once('-')), words.next())
        else {
            continue;
        };
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        if !rights.starts_with('r') || line.contains("[v") {
            continue;
        }
        let mut at = from;
        while at < to {
            let most = usize::try_from(to - at).unwrap().min(PIECE);
            let Ok(read) = memory.read_at(&mut bytes[..most], at) else { break };
            if read == 0 {
                break;
            }
            looked += read;
            found.extend(found_in(&bytes[..read]));
            // A needle may lie across two pieces.
            let back = if at + read as u64 == to { 0 } else { 16.min(read - 1) };
            at += (read - back) as u64;
        }
    }
    assert!(looked > 1 << 20, "only {looked} bytes of the process could be read");
    found.sort_unstable();
    found.dedup();
    found
}

/// A gateway process.
struct Gateway {
    child: Child,
    address: String,
    log: std::path::PathBuf,
}

impl Gateway {
    fn start(cella: &Path, name: &str, folder: &Path, settings: &[(&str, String)]) -> Self {
        let log = folder.join(format!("{name}.log"));
        let mut command = Command::new(cella);
        command.args(["--log", LOG, "gateway", "--listen", "127.0.0.1:0"]);
        for (setting, value) in settings {
            command.arg(format!("--{setting}")).arg(value);
        }
        command.args(["--leave-with-stdin", "true"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("gateway: https://") else {
            panic!("{name} says {line:?}:\n{}", fs::read_to_string(&log).unwrap());
        };
        Self { address: address.to_owned(), child, log }
    }

    fn log(&self) -> Vec<u8> {
        fs::read(&self.log).unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of a gateway as a tenant's admin.
struct Users {
    host: Host,
    keys: keys::Keys,
    authority_pem: String,
}

impl Users {
    async fn ask(
        &self,
        gateway: &Gateway,
        of: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refused> {
        let caller =
            Caller { tenant: tenant(of), user: "somebody".into(), groups: Vec::new(), role: Role::Admin };
        let token = self.keys.tokens.issue(&caller, AUDIENCE, self.host.clock.utc().0, 3600).unwrap();
        let authority_pem = self.authority_pem.clone();
        let access = Access { address: gateway.address.clone(), authority_pem, token };
        let client = Client::connect(&access, &self.host).await.unwrap();
        client.json(method, path, body).await.map_err(|error| error.downcast::<Refused>().unwrap())
    }
}

async fn cell(store: &Store, host: &Host, region: &str) {
    let body = encode(&CellRow {
        cell: region.into(),
        region: region.into(),
        address: "local:nobody".into(),
        at_us: host.clock.utc().0,
        draining: false,
        machines_max: 1,
        machines: 0,
        arch: Vec::new(),
        asleep_until_us: None,
    });
    let ops = vec![Op::Put { key: row(region), pre: Pre::Any, owner: None, body, prev: None }];
    store.txn(Txn { id: RequestId(host.id()), name: "test", ops }).await.unwrap();
}

async fn database(settings: &Settings, host: &Host) -> Store {
    spanner::schema::migrate(settings, host).await.unwrap();
    spanner::open(settings, host).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_emulator, ignore = "Google's Spanner emulator is not on this machine")]
async fn what_is_pinned_is_in_no_byte_of_the_global_database_nor_of_a_foreign_gateway() {
    let _turn = crate::alone_async().await;
    let cella = Tools::with(Kind::Emulator).unwrap().cella;
    let (host, _jobs) = base::real::host();
    let emulator = spanner::emulator::start(&host).await.unwrap();
    let global_at = emulator.database("cella", "global").unwrap();
    let eu_at = emulator.database("cella", "eu").unwrap();
    let (global, eu) = (database(&global_at, &host).await, database(&eu_at, &host).await);
    let directory = Directory::new(global.clone(), host.clone());
    let home = |name: &str| HomeId::parse(name).unwrap();
    directory.tenant_add(&tenant("pinned"), &home("eu")).await.unwrap();
    directory.tenant_add(&tenant("free"), &home("global")).await.unwrap();
    let residency = vec!["europe-west1".to_owned()];
    store::tenant::found(&eu, &host, &tenant("pinned"), residency).await.unwrap();
    store::tenant::found(&global, &host, &tenant("free"), Vec::new()).await.unwrap();
    cell(&eu, &host, "europe-west1").await;
    cell(&global, &host, "us-central1").await;

    let folder = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let tls = base::tls::load_or_make(&folder.path().join("tls"), &names).unwrap();
    let keys = keys::load_or_make(folder.path(), &host).unwrap();
    let secrets = folder.path().join("gateway-keys.json");
    keys::write(&secrets, &keys.gateway().unwrap()).unwrap();
    let common = [
        ("tls", folder.path().join("tls").display().to_string()),
        ("secrets", secrets.display().to_string()),
        ("spanner-emulator", emulator.address.grpc.clone()),
        ("spanner-emulator-rest", emulator.address.rest.clone()),
        ("directory", global_at.url()),
    ];
    let with = |more: &[(&'static str, String)]| [&common[..], more].concat();
    let start = |name: &str, more: &[(&'static str, String)]| {
        Gateway::start(&cella, name, folder.path(), &with(more))
    };
    let in_eu = start("eu", &[("store", eu_at.url()), ("home", "eu".into())]);
    let elsewhere = format!("eu=https://{}", in_eu.address);
    let foreign = start("foreign", &[("store", global_at.url()), ("elsewhere", elsewhere)]);
    let both = start("both", &[("store", global_at.url()), ("homes", format!("eu={}", eu_at.url()))]);
    let users = Users { host: host.clone(), keys, authority_pem: tls.authority_pem.clone() };

    // The foreign gateway has work of its own, with caches that are warm, before and after.
    let own = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"}});
    users.ask(&foreign, "free", Method::POST, CONFIGS, Some(&own)).await.unwrap();
    let made = users.ask(&in_eu, "pinned", Method::POST, RUNS, Some(&run())).await.unwrap();
    assert_eq!(made["metadata"]["annotations"]["cella.dev/region"], "europe-west1");
    users.ask(&in_eu, "pinned", Method::POST, CONFIGS, Some(&config())).await.unwrap();
    // A gateway that may hold both serves both.
    let list = users.ask(&both, "pinned", Method::GET, RUNS, None).await.unwrap();
    assert_eq!(list["items"][0]["metadata"]["name"], NEEDLES[0]);
    users.ask(&both, "free", Method::GET, &format!("{CONFIGS}/own"), None).await.unwrap();
    // One that may not is asked for it all the same, in words that say nothing.
    for (method, path) in [(Method::GET, RUNS), (Method::GET, CONFIGS), (Method::DELETE, RUNS)] {
        let refused = users.ask(&foreign, "pinned", method, path, None).await.unwrap_err();
        assert_eq!(refused.code, 307, "{refused}");
    }
    let list = users.ask(&foreign, "free", Method::GET, RUNS, None).await.unwrap();
    assert_eq!(list["items"], json!([]));
    let refused = users.ask(&in_eu, "free", Method::GET, RUNS, None).await.unwrap_err();
    assert_eq!(refused.code, 421, "{refused}");
    // Bells and caches have had their time.
    host.clock.sleep(std::time::Duration::from_secs(3)).await;

    // The searches find what is there.
    let text = spanner::schema::everything(&eu_at, &host).await.unwrap();
    assert_eq!(found_in(text.as_bytes()).len(), NEEDLES.len(), "needles of the pinned tenant's own database");
    let (one, other) = (found_in_memory(in_eu.child.id()), found_in_memory(both.child.id()));
    assert!(!one.is_empty() || !other.is_empty(), "needles in the memory of gateways that have seen them");
    // And nothing where it must not be.
    assert_eq!(found_in_memory(foreign.child.id()), [""; 0], "in the memory of the foreign gateway");
    // Now somebody sends it everything that it must not have: none of it is kept or logged.
    for (method, path, body) in [
        (Method::POST, RUNS.to_owned(), Some(run())),
        (Method::GET, format!("{RUNS}/{}", NEEDLES[0]), None),
        (Method::GET, format!("{RUNS}?labelSelector={}", NEEDLES[3]), None),
        (Method::DELETE, format!("{RUNS}/{}", NEEDLES[0]), None),
    ] {
        let refused = users.ask(&foreign, "pinned", method, &path, body.as_ref()).await.unwrap_err();
        assert_eq!(refused.code, 307, "{refused}");
    }
    let text = spanner::schema::everything(&global_at, &host).await.unwrap();
    assert!(text.contains("own"), "the global database is read");
    assert_eq!(found_in(text.as_bytes()), [""; 0], "in the global database");
    let log = foreign.log();
    assert!(log.len() > 1000, "the foreign gateway logs: {} bytes", log.len());
    assert_eq!(found_in(&log), [""; 0], "in the log of the foreign gateway");
}
