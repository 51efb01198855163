//! FusionAuth.
use super::*;
/// c
#[derive(Clone, Debug, Deserialize)]
pub struct Config {}
/// s
pub struct Fusionauth {}
impl Config { /// b
 pub fn build(&self, _b: &Path) -> Result<Fusionauth, BuildError> { Ok(Fusionauth{}) } }
impl Source for Fusionauth {
    async fn authenticate<'a>(&self, request: &RawRequest<'a>) -> Result<Authentic<'a>, SourceError> { Ok(Authentic::new(request.body, Evidence::default())) }
    fn decode(&self, _b: &Authentic<'_>, _f: &Fingerprinter) -> Result<Vec<Decoded>, SourceError> { Ok(vec![]) }
    fn quiet_after(&self) -> Option<Duration> { None }
}
