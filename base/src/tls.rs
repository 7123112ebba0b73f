//! Certificates of a local installation: an authority of its own and a server certificate signed by it, kept
//! in the data folder, so that clients verify the server on loopback as they would anywhere.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot use {0}")]
    File(String, #[source] io::Error),
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// A file holds something else.
    #[error("{0} does not hold what it should; remove the folder to have it made anew")]
    Damaged(String),
    /// Certificate and key do not fit.
    #[error("certificate and key cannot be used")]
    Unusable(#[from] rustls::Error),
}

/// What a server on this host needs.
pub struct LocalTls {
    /// Certificate of the authority, PEM, for clients' kubeconfigs.
    pub authority_pem: String,
    /// For the listener.
    pub server: Arc<ServerConfig>,
}

/// Loads the certificates in `dir`, or makes them there for `names` (DNS names and IP addresses).
///
/// # Errors
/// [`TlsError`] names the file.
pub fn load_or_make(dir: &Path, names: &[String]) -> Result<LocalTls, TlsError> {
    if !dir.join("server.key").exists() {
        make(dir, names)?;
    }
    load(dir)
}

/// Loads the certificates in `dir`.
///
/// # Errors
/// [`TlsError`] names the file.
pub fn load(dir: &Path) -> Result<LocalTls, TlsError> {
    let (ca, cert, key) = (dir.join("ca.pem"), dir.join("server.pem"), dir.join("server.key"));
    let certs = CertificateDer::pem_slice_iter(&read(&cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::Damaged(cert.display().to_string()))?;
    let private = PrivateKeyDer::from_pem_slice(&read(&key)?)
        .map_err(|_| TlsError::Damaged(key.display().to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certs, private)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let authority_pem =
        String::from_utf8(read(&ca)?).map_err(|_| TlsError::Damaged(ca.display().to_string()))?;
    Ok(LocalTls { authority_pem, server: Arc::new(server) })
}

fn make(dir: &Path, names: &[String]) -> Result<(), TlsError> {
    let (authority, certificate) = authority()?;
    fs::create_dir_all(dir).map_err(|e| TlsError::File(dir.display().to_string(), e))?;
    write(&dir.join("ca.pem"), certificate.as_bytes(), 0o644)?;
    // Kept to sign certificates for further servers of the installation, and for nothing else.
    write(&dir.join("ca.key"), authority.key().serialize_pem().as_bytes(), 0o600)?;
    issue_from(&authority, dir, names)
}

/// Makes a server certificate for `names` in `dir`, signed by the authority of `authority_dir` (which
/// [`load_or_make`] has made), unless there is one.
///
/// # Errors
/// [`TlsError`] names the file.
pub fn issue(authority_dir: &Path, dir: &Path, names: &[String]) -> Result<(), TlsError> {
    if dir.join("server.key").exists() {
        return Ok(());
    }
    let (ca, key) = (authority_dir.join("ca.pem"), authority_dir.join("ca.key"));
    let text = |path: &Path| {
        String::from_utf8(read(path)?).map_err(|_| TlsError::Damaged(path.display().to_string()))
    };
    let authority = Issuer::new(authority_params()?, KeyPair::from_pem(&text(&key)?)?);
    fs::create_dir_all(dir).map_err(|e| TlsError::File(dir.display().to_string(), e))?;
    write(&dir.join("ca.pem"), text(&ca)?.as_bytes(), 0o644)?;
    issue_from(&authority, dir, names)
}

/// A new authority and its certificate, PEM.
fn authority() -> Result<(Issuer<'static, KeyPair>, String), TlsError> {
    let (ca, key) = (authority_params()?, KeyPair::generate()?);
    let certificate = ca.self_signed(&key)?.pem();
    Ok((Issuer::new(ca, key), certificate))
}

/// What the authority says of itself: always the same, so that it can go on signing with its key alone.
fn authority_params() -> Result<CertificateParams, TlsError> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "Cella local authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(ca)
}

fn issue_from(authority: &Issuer<'_, KeyPair>, dir: &Path, names: &[String]) -> Result<(), TlsError> {
    let mut server = CertificateParams::new(names.to_vec())?;
    server.distinguished_name.push(DnType::CommonName, "cella");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let cert = server.signed_by(&key, authority)?;
    write(&dir.join("server.pem"), cert.pem().as_bytes(), 0o644)?;
    // Last: its presence says that all are there.
    write(&dir.join("server.key"), key.serialize_pem().as_bytes(), 0o600)
}

/// What a client needs to believe servers whose certificates this authority (PEM) has signed.
///
/// # Errors
/// [`TlsError`] when it is none.
pub fn client(authority_pem: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        roots.add(certificate.map_err(|_| TlsError::Damaged("the authority".into()))?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(client))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|e| TlsError::File(path.display().to_string(), e))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    file.and_then(|mut f| f.write_all(bytes)).map_err(|e| TlsError::File(path.display().to_string(), e))
}
