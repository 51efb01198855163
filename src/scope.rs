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
    /// Exact pairs, let through beside what the lists let through; with pairs and empty lists, nothing but the pairs.
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
        self.takes_ids(event.tenant_id.as_ref(), event.application_id.as_ref())
    }

    /// The same, of an event's two ids.
    pub fn takes_ids(&self, tenant: Option<&TenantId>, application: Option<&ApplicationId>) -> bool {
        self.takes_or(tenant, application, self.when_absent == WhenAbsent::Keep)
    }

    /// The same, of what several events have in common: an id is absent where they differ, so that some may be inside.
    pub fn takes_common(&self, tenant: Option<&TenantId>, application: Option<&ApplicationId>) -> bool {
        self.takes_or(tenant, application, true)
    }

    fn takes_or(&self, tenant: Option<&TenantId>, application: Option<&ApplicationId>, absent: bool) -> bool {
        let lists_empty = self.tenants.is_empty() && self.applications.is_empty();
        if self.allow.is_empty() || !lists_empty {
            let by_lists = one_of(&self.tenants, tenant, absent) && one_of(&self.applications, application, absent);
            if by_lists {
                return true;
            }
        }
        self.allow.iter().any(|pair| {
            one_of(std::slice::from_ref(&pair.tenant), tenant, absent)
                && one_of(&pair.applications, application, absent)
        })
    }
}

fn one_of<T: PartialEq>(list: &[T], value: Option<&T>, absent: bool) -> bool {
    list.is_empty() || value.map_or(absent, |value| list.contains(value))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn takes(scope: &Value, tenant: Option<&str>, application: Option<&str>) -> bool {
        let scope: Scope = serde_json::from_value(scope.clone()).unwrap();
        let mut event: RefreshEvent = serde_json::from_value(json!({
            "id": "e1", "type": "jwt.refresh", "occurred_at": "2019-08-26T18:08:28.643Z", "outcome": "attempted"
        }))
        .unwrap();
        event.tenant_id = tenant.map(TenantId::new);
        event.application_id = application.map(ApplicationId::new);
        scope.takes(&event)
    }

    #[test]
    fn lists_and_pairs_let_through_what_they_name() {
        let lists = json!({"tenants": ["t1", "t2"], "applications": ["a1"]});
        let pairs = json!({"allow": [{"tenant": "t1", "applications": ["a1"]}, {"tenant": "t2"}]});
        let both = json!({"tenants": ["t1"], "allow": [{"tenant": "t2", "applications": ["a2"]}]});
        let kept = json!({"tenants": ["t1"], "applications": ["a1"], "when_absent": "keep"});
        let pairs_kept = json!({"allow": [{"tenant": "t1", "applications": ["a1"]}], "when_absent": "keep"});
        for (scope, tenant, application, taken) in [
            (&json!({}), Some("t9"), Some("a9"), true),
            (&json!({}), None, None, true),
            (&lists, Some("t2"), Some("a1"), true),
            (&lists, Some("t3"), Some("a1"), false),
            (&lists, Some("t1"), Some("a2"), false),
            (&lists, Some("t1"), None, false),
            (&lists, None, Some("a1"), false),
            (&json!({"tenants": ["t1"]}), Some("t1"), None, true),
            (&json!({"applications": ["a1"]}), None, Some("a1"), true),
            (&pairs, Some("t1"), Some("a1"), true),
            (&pairs, Some("t1"), Some("a2"), false),
            (&pairs, Some("t2"), Some("a9"), true),
            (&pairs, Some("t2"), None, true),
            (&pairs, Some("t3"), Some("a1"), false),
            (&pairs, None, Some("a1"), false),
            (&both, Some("t1"), Some("a9"), true),
            (&both, Some("t2"), Some("a2"), true),
            (&both, Some("t2"), Some("a9"), false),
            (&kept, None, None, true),
            (&kept, None, Some("a1"), true),
            (&kept, None, Some("a9"), false),
            (&kept, Some("t9"), None, false),
            (&pairs_kept, None, None, true),
            (&pairs_kept, Some("t1"), None, true),
            (&pairs_kept, Some("t9"), None, false),
        ] {
            assert_eq!(takes(scope, tenant, application), taken, "{scope} {tenant:?} {application:?}");
        }
    }

    #[test]
    fn ids_compare_without_regard_to_the_case_of_a_uuid() {
        let scope = json!({"tenants": ["E872A880-B14F-6D62-C312-CB40F22AF465"]});
        assert!(takes(&scope, Some("e872a880-b14f-6d62-c312-cb40f22af465"), None));
        assert!(!takes(&json!({"tenants": ["Main"]}), Some("main"), None));
    }

    #[test]
    fn an_unknown_member_is_an_error() {
        for wrong in [json!({"tenant": []}), json!({"allow": [{"applications": []}]}), json!({"when_absent": "drop"})] {
            assert!(serde_json::from_value::<Scope>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
