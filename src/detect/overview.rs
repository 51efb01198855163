//! What an operator sees of each application: how many of its refreshes name the token before, which the rules about
//! lineage rest on, and what was learned of its ways.

use serde::{Deserialize, Serialize};

use super::state::{application::Application, table::Table};

/// One application within one tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// Its tenant, where events name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Its id, where events name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_id: Option<String>,
    /// Refreshes since it is known.
    pub refreshes: u64,
    /// How many of them named the previous access token (`original`).
    pub originals: u64,
    /// The share of them, 0 to 1.
    pub coverage: f64,
    /// Whether its refresh tokens work once; none: not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_time: Option<bool>,
    /// Whether a server refreshes for its users.
    pub back_end: bool,
    /// About how many users it has (standard error 13 %).
    pub users: u64,
    /// About how many networks they come from.
    pub networks: u64,
}

/// What stands for those that are not told one by one.
const OTHER: &str = "other";

/// All that are known, the busiest first.
pub fn overviews(applications: &Table<Application>) -> Vec<Overview> {
    let known = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut all: Vec<Overview> = applications
        .iter()
        .map(|(_, application)| Overview {
            tenant_id: known(&application.tenant_id),
            application_id: known(&application.id),
            refreshes: application.events.into(),
            originals: application.originals.into(),
            coverage: application.coverage(),
            one_time: application.is_one_time(),
            back_end: application.is_backend(),
            users: application.users.estimate().round() as u64,
            networks: application.addresses.estimate().round() as u64,
        })
        .collect();
    let name = |one: &Overview| (one.tenant_id.clone(), one.application_id.clone());
    all.sort_by(|a, b| b.refreshes.cmp(&a.refreshes).then_with(|| name(a).cmp(&name(b))));
    all
}

/// The first `most` of them; what is left is one, called `other`.
pub fn busiest(mut all: Vec<Overview>, most: usize) -> Vec<Overview> {
    let rest = all.split_off(most.min(all.len()));
    if !rest.is_empty() {
        let sum = |count: fn(&Overview) -> u64| rest.iter().map(count).sum::<u64>();
        let (refreshes, originals) = (sum(|one| one.refreshes), sum(|one| one.originals));
        let name = Some(OTHER.to_owned());
        let coverage = originals as f64 / refreshes.max(1) as f64;
        all.push(Overview {
            tenant_id: name.clone(),
            application_id: name,
            refreshes,
            originals,
            coverage,
            ..Overview::default()
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_bound_the_rest_is_summed() {
        let one = |id: &str, refreshes, originals| Overview {
            application_id: Some(id.to_owned()),
            refreshes,
            originals,
            ..Overview::default()
        };
        let all = vec![one("a", 50, 50), one("b", 30, 3), one("c", 6, 6), one("d", 4, 1)];
        assert_eq!(busiest(all.clone(), 4), all);
        let few = busiest(all.clone(), 2);
        assert_eq!(few[..2], all[..2]);
        // 6 + 4 refreshes, 6 + 1 of them with it.
        let rest = &few[2];
        assert_eq!((rest.application_id.as_deref(), rest.refreshes, rest.originals), (Some("other"), 10, 7));
        assert_eq!((few.len(), rest.coverage), (3, 0.7));
    }
}
