//! Http.
use super::*;
/// c
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// p
    pub url: String,
    /// p
    pub secret_file: Option<std::path::PathBuf>,
}
/// s
pub struct Http {}
impl Config { /// b
 pub fn build(&self, _b: &Path) -> Result<Http, BuildError> { Ok(Http{}) } }
impl Sink for Http {
    async fn check(&self) -> Result<(), SinkError> { Ok(()) }
    async fn deliver(&self, _b: &[Message]) -> Result<(), SinkError> { Ok(()) }
}
