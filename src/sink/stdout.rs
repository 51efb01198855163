//! Stdout.
use super::*;
/// c
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}
/// s
pub struct Stdout {}
impl Config { /// b
 pub fn build(&self, _b: &Path) -> Result<Stdout, BuildError> { Ok(Stdout{}) } }
impl Sink for Stdout {
    async fn check(&self) -> Result<(), SinkError> { Ok(()) }
    async fn deliver(&self, _b: &[Message]) -> Result<(), SinkError> { Ok(()) }
}
