//! Doing what the command line says.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use base::real;
use base::telemetry::{self, Telemetry};
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{
    Arguments, Command, Demo, Draining, OperateCell, OperateRegion, Replay, StoreCommand, Up, Why,
};
use crate::demo::{self, Act, Screen};
use crate::operate::What;
use crate::resolvers::Resolvers;
use crate::store::StoreArguments;
use crate::{doctor, kubeconfig, operate, replay, server, up, why};

/// Runs the command inside a runtime.
///
/// # Errors
/// What went wrong, for people.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Command::Doctor = arguments.command {
        return Ok(doctor::run());
    }
    // reqwest and rustls share one provider of cryptography; it is named here, once.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let settings = Telemetry {
            service: match &arguments.command {
                Command::Gateway(_) => "gateway",
                Command::Cell { operate: None, .. } => "cell",
                _ => "cella",
            },
            filter: arguments.log.clone(),
            json: false,
            otlp: arguments.otlp.clone(),
        };
        let _telemetry = telemetry::start(&settings)?;
        match &arguments.command {
            Command::Up(options) => stay(options, &arguments.log).await,
            Command::Demo(options) => show(options, &arguments.log).await,
            Command::Doctor => Ok(ExitCode::SUCCESS),
            Command::Gateway(given) => server::gateway::run(given).await,
            Command::Cell { operate: Some(OperateCell::Drain { cell, options }), .. } => {
                drain(What::Cell(cell), options).await
            }
            Command::Cell { operate: None, given } => server::cell::run(given).await,
            Command::Store(StoreCommand::Migrate { store }) => {
                println!("{}", crate::store::migrate(store, &real::host().0).await?);
                Ok(ExitCode::SUCCESS)
            }
            Command::Why(options) => tell(options).await,
            Command::Replay(options) => decide(options).await,
            Command::Tenant(operate) => {
                let (host, _jobs) = real::host();
                println!("{}", operate::tenant(operate, &host).await?);
                Ok(ExitCode::SUCCESS)
            }
            Command::Region { operate: OperateRegion::Drain { region, options } } => {
                drain(What::Region(region), options).await
            }
        }
    });
    runtime.shutdown_background();
    outcome
}

async fn drain(what: What<'_>, options: &Draining) -> Result<ExitCode> {
    let (host, _jobs) = real::host();
    operate::drain(what, options, &host).await
}

async fn stay(options: &Up, log: &str) -> Result<ExitCode> {
    let (host, jobs) = real::host();
    let hosts: BTreeMap<_, _> = options.hosts.iter().cloned().collect();
    let running = up::start(
        &up::Options {
            data: options.data.clone(),
            port: options.port,
            tenants: options.tenants.clone(),
            images: options.images.clone(),
            machines_max: options.machines,
            resolvers: Resolvers { pins: hosts.clone(), ..options.resolvers.clone() },
            hosts,
            store: options.store.clone(),
            one_process: options.one_process,
            gateways: options.gateways.max(1),
            replicas: options.replicas.max(1),
            sleep_after: options.sleep_after.map(Duration::from_secs),
            log: log.to_owned(),
        },
        &host,
        jobs.clone(),
    )
    .await?;
    running.announce()?;
    println!("gateway: https://{}", running.address);
    for (cell, region) in up::CELLS {
        println!("cell: {cell} in {region}");
    }
    for (tenant, _, path) in &running.tenants {
        println!("tenant {tenant}: export KUBECONFIG={}", path.display());
    }
    println!("stop with Ctrl-C");
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = base::host::race(interrupt.recv(), terminate.recv());
    let code = match base::host::race(asked, jobs.panicked()).await {
        base::host::Either::Left(_) => ExitCode::SUCCESS,
        // A bug: what it was is printed; going on would hide it.
        base::host::Either::Right(()) => ExitCode::FAILURE,
    };
    running.stop().await;
    Ok(code)
}

async fn tell(options: &Why) -> Result<ExitCode> {
    let (host, _jobs) = real::host();
    let (access, namespace) = kubeconfig::read(&options.kubeconfig)?;
    let namespace = options.namespace.as_ref().unwrap_or(&namespace);
    let story = why::story(&access, &host, namespace, &options.run, options.kind.as_deref()).await?;
    if options.json {
        println!("{story:#}");
    } else {
        print!("{}", why::tell(&story)?);
    }
    Ok(ExitCode::SUCCESS)
}

async fn decide(options: &Replay) -> Result<ExitCode> {
    let snapshot = match (&options.from, &options.run) {
        (Some(path), _) => {
            let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("{} is no snapshot", path.display()))?
        }
        (None, Some(run)) => {
            let (host, _jobs) = real::host();
            let path =
                options.kubeconfig.as_ref().context("name the tenant's kubeconfig: --kubeconfig FILE")?;
            let (access, namespace) = kubeconfig::read(path)?;
            let namespace = options.namespace.as_ref().unwrap_or(&namespace);
            replay::take(&access, &host, namespace, run, options.kind.as_deref()).await?
        }
        (None, None) => anyhow::bail!("name a run, or a snapshot with --from FILE"),
    };
    if let Some(path) = &options.save {
        kubeconfig::write_private(path, &serde_json::to_vec_pretty(&snapshot)?)?;
    }
    println!("{:#}", replay::run(&snapshot)?);
    Ok(ExitCode::SUCCESS)
}

async fn show(options: &Demo, log: &str) -> Result<ExitCode> {
    let objects = demo::read(&options.files)?;
    let folder = std::env::temp_dir().join(format!("cella-demo.{}", std::process::id()));
    let (host, jobs) = real::host();
    let began = host.clock.mono();
    let running = up::start(
        &up::Options {
            data: folder.clone(),
            port: 0,
            tenants: vec!["acme".into(), "globex".into()],
            images: options.images.clone(),
            machines_max: 32,
            resolvers: Resolvers::default(),
            hosts: BTreeMap::new(),
            store: StoreArguments::default(),
            one_process: true,
            gateways: 1,
            replicas: 1,
            sleep_after: None,
            log: log.to_owned(),
        },
        &host,
        jobs,
    )
    .await;
    let played = match &running {
        Ok(running) => play(running, &objects, &host, began).await,
        Err(_) => Ok(true),
    };
    let outcome = match running {
        Ok(running) => {
            running.stop().await;
            played
        }
        Err(error) => Err(error),
    };
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(
    running: &up::Running,
    objects: &[serde_json::Value],
    host: &base::host::Host,
    began: base::host::Mono,
) -> Result<bool> {
    let screen = Screen::new(host, began);
    screen.line(&format!("gateway at https://{}, cells in us-central1 and europe-west1", running.address));
    let mut acts =
        running.tenants.iter().zip([Some("europe-west1"), None]).map(|((tenant, access, _), regions)| Act {
            tenant: tenant.clone(),
            access: access.clone(),
            regions: regions.map(str::to_owned),
        });
    let (first, second) = (acts.next().context("a tenant")?, acts.next().context("two tenants")?);
    let both = futures_util::future::join(
        demo::play(&first, objects, host, &screen),
        demo::play(&second, objects, host, &screen),
    );
    let (first, second) = both.await;
    Ok(first? & second?)
}
