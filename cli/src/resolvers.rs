//! How the resolvers of a cell reach the world: arguments, and what is made of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use base::host::Host;
use cell::fetch::Fetch;
use cell::fetch::egress::{Allowed, Egress};
use cell::fetch::outbound::Outbound;
use cell::resolve::hub::Hubs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Arguments about resolvers.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Resolvers {
    /// Let resolvers connect to an address that is not public: ADDRESS, ADDRESS/BITS, or either with :PORT; may be
    /// repeated.
    #[arg(long = "egress-allow", value_name = "RANGE", env = "CELLA_EGRESS_ALLOW", value_delimiter = ',')]
    pub egress_allow: Vec<Allowed>,
    /// PEM file with certificates of authorities that resolvers trust beside those of this host; may be repeated.
    #[arg(long = "resolver-ca", value_name = "FILE", env = "CELLA_RESOLVER_CA", value_delimiter = ',')]
    pub authorities: Vec<PathBuf>,
    /// Names that resolvers find at an address of this host's choice.
    #[arg(skip)]
    pub pins: BTreeMap<String, IpAddr>,
    /// Artifact Hub that the hub resolver asks.
    #[arg(long = "artifact-hub", value_name = "URL", env = "ARTIFACT_HUB_API")]
    pub artifact_hub: Option<String>,
    /// Tekton Hub that the hub resolver asks for type `tekton`.
    #[arg(long = "tekton-hub", value_name = "URL", env = "TEKTON_HUB_API")]
    pub tekton_hub: Option<String>,
}

impl Resolvers {
    /// The way out.
    ///
    /// # Errors
    /// When a file of certificates cannot be read.
    pub fn fetch(&self, host: &Host) -> Result<Arc<dyn Fetch>> {
        let mut authorities = Vec::new();
        for file in &self.authorities {
            let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            authorities
                .extend(read.with_context(|| format!("cannot read certificates from {}", file.display()))?);
        }
        let egress = Egress { allow: self.egress_allow.clone(), pins: self.pins.clone() };
        Ok(Arc::new(Outbound::new(host.clone(), egress, &authorities)))
    }

    /// Where hubs are.
    pub fn hubs(&self) -> Hubs {
        let public = Hubs::default();
        Hubs { artifact: self.artifact_hub.clone().or(public.artifact), tekton: self.tekton_hub.clone() }
    }
}
