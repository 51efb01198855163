//! TLS of the sinks' connections: whom to trust and who we are. Not a sink; knows none.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;

use super::BuildError;
use crate::secret::Secret;

/// The members of an entry that say it, all PEM, relative to the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsFiles<'a> {
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<&'a Path>,
    /// Client certificate and its chain.
    pub cert_file: Option<&'a Path>,
    /// Key of the client certificate.
    pub key_file: Option<&'a Path>,
}

impl<'a> TlsFiles<'a> {
    /// From an entry's members `ca_file`, `cert_file` and `key_file`.
    pub fn new(ca_file: &'a Option<PathBuf>, cert_file: &'a Option<PathBuf>, key_file: &'a Option<PathBuf>) -> Self {
        Self { ca_file: ca_file.as_deref(), cert_file: cert_file.as_deref(), key_file: key_file.as_deref() }
    }

    /// Whether any of them is given.
    pub fn any(&self) -> bool {
        self.ca_file.is_some() || self.cert_file.is_some() || self.key_file.is_some()
    }

    /// TLS 1.2 and 1.3, the server's certificate and name always checked. Reads the files, connects to nothing.
    pub fn client_config(&self, base: &Path) -> Result<ClientConfig, BuildError> {
        let wrong = |error: rustls::Error| BuildError(format!("cannot set up TLS: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(wrong)?;
        let builder = match self.ca_file {
            Some(file) => builder.with_root_certificates(roots(base, file)?),
            None => builder.with_platform_verifier().map_err(wrong)?,
        };
        match (self.cert_file, self.key_file) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("cert_file", base, certificate)?;
                let unusable = |why: String| BuildError(format!("key_file {} is not usable: {why}", key.display()));
                let pem = Secret::new(read("key_file", base, key)?);
                let key = PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|error| unusable(error.to_string()))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| unusable(error.to_string()))
            }
            (None, None) => Ok(builder.with_no_client_auth()),
            _ => Err(BuildError("cert_file and key_file go together: give both or neither".to_owned())),
        }
    }
}

/// What to do where the library's word for why a certificate is refused says little.
pub fn advice(reason: &str) -> Option<&'static str> {
    reason.contains("CaUsedAsEndEntity").then_some(
        "the certificate that the other side shows is a CA's own (CA:TRUE, as `openssl req -x509` makes them): let it show one \
         that the CA signed, or a self-signed one made with -addext basicConstraints=critical,CA:FALSE",
    )
}

/// For a client that is to speak no TLS, but whose library would find a configuration of its own if it had none.
#[cfg(feature = "nats")]
pub fn trusting_nobody() -> Result<ClientConfig, BuildError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError(format!("cannot set up TLS: {error}")))?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn roots(base: &Path, file: &Path) -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", base, file)? {
        roots
            .add(certificate)
            .map_err(|error| BuildError(format!("ca_file {} is not usable: {error}", file.display())))?;
    }
    Ok(roots)
}

fn certificates(key: &str, base: &Path, file: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let pem = read(key, base, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(BuildError(format!("{key} {} holds no PEM certificate", file.display()))),
        Ok(found) => Ok(found),
        Err(error) => Err(BuildError(format!("{key} {} is not usable PEM: {error}", file.display()))),
    }
}

/// The content of the file that the member `key` names.
pub fn read(key: &str, base: &Path, file: &Path) -> Result<Vec<u8>, BuildError> {
    let path = base.join(file);
    fs::read(&path).map_err(|error| BuildError(format!("cannot read {key} {}: {error}", path.display())))
}
