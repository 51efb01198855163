//! The public listener's certificate. Certificates live for weeks: a renewed one is shown to the next who connects, without a
//! restart, which senders would notice. What cannot be used changes nothing but the log.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, TryLockError},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads a certificate chain and its key, both PEM, and reads them again once they have changed.
pub fn tls(cert: &Path, key: &Path) -> Result<ServerConfig, String> {
    let files = Files { cert: cert.to_owned(), key: key.to_owned() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // Before they are read: what is written in between is seen by the next look.
    let read = files.changed();
    let shown = ArcSwap::from_pointee(files.read(&provider)?);
    let seen = Mutex::new(Seen { looked: Instant::now(), read, trouble: None });
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("server.tls: {error}"))?;
    let certificate = Certificate { files, provider, shown, seen };
    Ok(builder.with_no_client_auth().with_cert_resolver(Arc::new(certificate)))
}

#[derive(Debug)]
struct Certificate {
    files: Files,
    provider: Arc<CryptoProvider>,
    shown: ArcSwap<CertifiedKey>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

#[derive(Debug)]
struct Seen {
    looked: Instant,
    /// When what is shown was written.
    read: Changed,
    /// Said already.
    trouble: Option<String>,
}

type Changed = [Option<SystemTime>; 2];

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.look();
        Some(self.shown.load_full())
    }
}

impl Certificate {
    /// Now and then; the others go on with what there is.
    fn look(&self) {
        let mut seen = match self.seen.try_lock() {
            Ok(seen) => seen,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if seen.looked.elapsed() < LOOK_EVERY {
            return;
        }
        seen.looked = Instant::now();
        let changed = self.files.changed();
        if changed == seen.read {
            return;
        }
        // The two are replaced one after the other: until both are, they do not fit, and it is tried again.
        match self.files.read(&self.provider) {
            Ok(certificate) => {
                tracing::info!(cert = %self.files.cert.display(), "another certificate is shown from now on");
                self.shown.store(Arc::new(certificate));
                (seen.read, seen.trouble) = (changed, None);
            }
            Err(reason) if seen.trouble.as_ref() != Some(&reason) => {
                tracing::error!("{reason}: the certificate of before is still shown");
                seen.trouble = Some(reason);
            }
            Err(_) => {}
        }
    }
}

impl Files {
    fn changed(&self) -> Changed {
        [&self.cert, &self.key].map(|path| fs::metadata(path).and_then(|about| about.modified()).ok())
    }

    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
        let told = |path: &Path, error: &dyn std::fmt::Display| format!("server.tls: {}: {error}", path.display());
        let chain = CertificateDer::pem_file_iter(&self.cert).and_then(Iterator::collect);
        let chain: Vec<CertificateDer<'static>> = chain.map_err(|error| told(&self.cert, &error))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| told(&self.key, &error))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| told(&self.cert, &error))
    }
}
