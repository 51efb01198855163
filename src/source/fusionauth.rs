//! FusionAuth.
use super::*;
/// c
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// k
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    /// k
    pub jwks_url: Option<String>,
    /// k
    #[serde(default)]
    pub allowed_kids: Vec<String>,
    /// k
    pub basic_auth: Option<BasicAuth>,
    /// k
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, crate::secret::SecretRef>,
    /// k
    #[serde(default)]
    pub allow_from: Vec<ipnet::IpNet>,
    /// k
    #[serde(default)]
    pub trusted_proxies: Vec<IpAddr>,
    /// k
    pub quiet_after: Option<crate::units::Span>,
    /// k
    #[serde(default)]
    pub keep: Vec<String>,
    /// k
    #[serde(default)]
    pub unsigned: bool,
    /// k
    #[serde(default)]
    pub events: Vec<String>,
}
/// k
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// k
    pub alg: String,
    /// k
    pub kid: Option<String>,
    /// k
    pub secret_file: Option<std::path::PathBuf>,
    /// k
    pub secret_env: Option<String>,
    /// k
    pub pem_file: Option<std::path::PathBuf>,
    /// k
    pub encoding: Option<String>,
}
/// k
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// k
    pub username: String,
    /// k
    pub password_file: Option<std::path::PathBuf>,
    /// k
    pub password_env: Option<String>,
}
/// s
pub struct Fusionauth {}
impl Config { /// b
 pub fn build(&self, _b: &Path) -> Result<Fusionauth, BuildError> { Ok(Fusionauth{}) } }
impl Source for Fusionauth {
    async fn authenticate<'a>(&self, request: &RawRequest<'a>) -> Result<Authentic<'a>, SourceError> { Ok(Authentic::new(request.body, Evidence::default())) }
    fn decode(&self, _b: &Authentic<'_>, _f: &Fingerprinter) -> Result<Vec<Decoded>, SourceError> { Ok(vec![]) }
    fn quiet_after(&self) -> Option<Duration> { None }
}
