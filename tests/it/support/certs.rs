//! Certificates for tests: authorities and what they vouch for, as PEM files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Signs certificates; its own is `<name>.crt`.
pub struct Authority {
    dir: PathBuf,
    /// Its certificate, PEM.
    pub cert: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, whose files are in `dir`.
    pub fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, format!("{name}.invalid"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let cert = dir.join(format!("{name}.crt"));
        fs::write(&cert, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir: dir.to_owned(), cert, issuer: Issuer::new(params, key) }
    }

    /// `<name>.crt` and `<name>.key`, for servers and clients, on `127.0.0.1` and `localhost`. The common name is `name`.
    pub fn issue(&self, name: &str) {
        self.issue_for(name, &["127.0.0.1", "localhost"]);
    }

    /// The same for other hosts.
    pub fn issue_for(&self, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.dir.join(format!("{name}.crt")), cert.pem()).unwrap();
        fs::write(self.dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}
