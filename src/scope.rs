//! The tenant/application filter: pure, used on the way in and, per sink, on the way out. Knows `event` only.

use serde::Deserialize;

use crate::event::{ApplicationId, RefreshEvent, TenantId};

/// `[scope]`, and `scope = { … }` of a sink. Empty lists let everything through; both lists must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// Tenants to let through.
    pub tenants: Vec<TenantId>,
    /// Applications to let through.
    pub applications: Vec<ApplicationId>,
    /// What to do with an event that lacks what a non-empty filter asks for.
    pub when_absent: WhenAbsent,
    /// Exact pairs, let through beside what the lists let through.
    pub allow: Vec<Pair>,
}

/// One tenant and its applications (universal applications span tenants, so the pair is what identifies).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The tenant.
    pub tenant: TenantId,
    /// Its applications; empty = all of them.
    #[serde(default)]
    pub applications: Vec<ApplicationId>,
}

/// What to do with an event that does not say its tenant or application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenAbsent {
    /// Leave it out.
    #[default]
    Filter,
    /// Let it through.
    Keep,
}

impl Scope {
    /// Whether the event is inside.
    pub fn takes(&self, event: &RefreshEvent) -> bool {
        let (tenant, application) = (event.tenant_id.as_ref(), event.application_id.as_ref());
        let lists_empty = self.tenants.is_empty() && self.applications.is_empty();
        if self.allow.is_empty() || !lists_empty {
            let by_lists = self.one_of(&self.tenants, tenant) && self.one_of(&self.applications, application);
            if by_lists {
                return true;
            }
        }
        self.allow.iter().any(|pair| {
            self.one_of(std::slice::from_ref(&pair.tenant), tenant) && self.one_of(&pair.applications, application)
        })
    }

    fn one_of<T: PartialEq>(&self, list: &[T], value: Option<&T>) -> bool {
        list.is_empty() || value.map_or(self.when_absent == WhenAbsent::Keep, |value| list.contains(value))
    }
}
