//! The public listener's certificate. Certificates live for weeks: a renewed one is shown to the next who connects, without a
//! restart, which senders would notice. What cannot be used changes nothing but the log.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, TryLockError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use rustls::{
    Error, InconsistentKeys, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::files::Stamp;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads a certificate chain and its key, both PEM, and reads them again once they have changed.
pub fn tls(cert: &Path, key: &Path) -> Result<ServerConfig, String> {
    let certificate = Certificate::open(cert, key)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&certificate.provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("server.tls: {error}"))?;
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
    /// Of the files that what is shown was read from.
    read: Stamps,
    /// Said already.
    trouble: Option<String>,
}

/// None of a file that is not there.
type Stamps = [Option<Stamp>; 2];

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.look();
        Some(self.shown.load_full())
    }
}

impl Certificate {
    fn open(cert: &Path, key: &Path) -> Result<Self, String> {
        let files = Files { cert: cert.to_owned(), key: key.to_owned() };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // Before they are read: what is written in between is seen by the next look.
        let read = files.stamps();
        let shown = ArcSwap::from_pointee(files.read(&provider)?);
        let seen = Mutex::new(Seen { looked: Instant::now(), read, trouble: None });
        Ok(Self { files, provider, shown, seen })
    }

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
        let stamps = self.files.stamps();
        if stamps == seen.read {
            return;
        }
        // The two are replaced one after the other: until both are, they do not fit, and it is tried again.
        match self.files.read(&self.provider) {
            Ok(certificate) => {
                tracing::info!(cert = %self.files.cert.display(), "another certificate is shown from now on");
                self.shown.store(Arc::new(certificate));
                (seen.read, seen.trouble) = (stamps, None);
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
    fn stamps(&self) -> Stamps {
        [&self.cert, &self.key].map(|path| fs::metadata(path).map(|about| Stamp::of(&about)).ok())
    }

    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
        let wrong = |path: &Path, problem: &str| format!("server.tls: {}: {problem}", path.display());
        let chain = CertificateDer::pem_file_iter(&self.cert).and_then(Iterator::collect);
        let chain: Vec<CertificateDer<'static>> = chain.map_err(|error| wrong(&self.cert, &in_words(&error)))?;
        if chain.is_empty() {
            return Err(wrong(&self.cert, "it holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong(&self.key, &in_words(&error)))?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| wrong(&self.key, &format!("it is no private key that can be used: {error}")))?;
        let certificate = CertifiedKey::new(chain, key);
        match certificate.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certificate),
            Err(Error::InconsistentKeys(_)) => {
                let problem = format!("it is not the key of the first certificate in {}", self.cert.display());
                Err(wrong(&self.key, &problem))
            }
            Err(error) => Err(wrong(&self.cert, &format!("its first certificate cannot be used: {error}"))),
        }
    }
}

/// What is wrong with a PEM file.
fn in_words(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => {
            "it holds no private key in PEM (-----BEGIN PRIVATE KEY-----, without a password)".to_owned()
        }
        pem::Error::Io(error) => format!("it cannot be read: {error}"),
        error => format!("it is no PEM: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_renewed_one_that_keeps_its_times_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let (cert, key) = (root.path().join("cert.pem"), root.path().join("key.pem"));
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        // As `cp -p` and `install -p` leave them.
        let write = || {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            for (path, pem) in [(&cert, made.cert.pem()), (&key, made.signing_key.serialize_pem())] {
                fs::write(path, pem).unwrap();
                File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
            }
            made.cert.der().clone()
        };
        let first = write();
        let certificate = Certificate::open(&cert, &key).unwrap();
        let shown = || certificate.shown.load().cert[0].clone();
        assert_eq!(shown(), first);
        let second = write();
        certificate.seen.lock().unwrap().looked -= LOOK_EVERY;
        certificate.look();
        assert_eq!(shown(), second);
    }
}
