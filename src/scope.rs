//! The tenant/application filter: pure, used on the way in and, per sink, on the way out. Knows `event` only.

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::event::{ApplicationId, RefreshEvent, TenantId};

/// `[scope]`, and `scope = { … }` of a sink. Empty lists let everything through; both lists must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// Tenants to let through.
    #[serde(deserialize_with = "ids")]
    pub tenants: Vec<TenantId>,
    /// Applications to let through.
    #[serde(deserialize_with = "ids")]
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
    #[serde(deserialize_with = "id")]
    pub tenant: TenantId,
    /// Its applications; empty = all of them.
    #[serde(default, deserialize_with = "ids")]
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

/// An id as somebody wrote it down. Events have UUIDs with hyphens and nothing around them.
struct Written(String);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() || text.trim() != text {
            return Err(D::Error::custom("an id is empty or has blanks around it, and would let nothing through"));
        }
        Ok(Self(uuid::Uuid::try_parse(&text).map_or(text, |id| id.hyphenated().to_string())))
    }
}

impl From<Written> for TenantId {
    fn from(Written(text): Written) -> Self {
        Self::new(text)
    }
}

impl From<Written> for ApplicationId {
    fn from(Written(text): Written) -> Self {
        Self::new(text)
    }
}

fn id<'de, D: Deserializer<'de>, T: From<Written>>(from: D) -> Result<T, D::Error> {
    Written::deserialize(from).map(T::from)
}

fn ids<'de, D: Deserializer<'de>, T: From<Written>>(from: D) -> Result<Vec<T>, D::Error> {
    Vec::<Written>::deserialize(from).map(|list| list.into_iter().map(T::from).collect())
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
    fn ids_are_taken_in_any_form_of_a_uuid_and_not_with_what_no_event_has() {
        let event = "800d17be-ad77-4f3d-93e1-ef73dfa50cf2";
        for form in [
            "{800d17be-ad77-4f3d-93e1-ef73dfa50cf2}",
            "urn:uuid:800D17BE-ad77-4f3d-93e1-ef73dfa50cf2",
            "800d17bead774f3d93e1ef73dfa50cf2",
            event,
        ] {
            assert!(takes(&json!({"tenants": [form]}), Some(event), None), "{form}");
            assert!(takes(&json!({"applications": [form]}), None, Some(event)), "{form}");
            let pair = json!({"allow": [{"tenant": form, "applications": [form]}]});
            assert!(takes(&pair, Some(event), Some(event)), "{form}");
        }
        for wrong in ["", " ", " 800d17be-ad77-4f3d-93e1-ef73dfa50cf2", "main\n"] {
            let pairs = [json!([{"tenant": wrong}]), json!([{"tenant": "t", "applications": [wrong]}])];
            let [one, two] = pairs.map(|pairs| json!({"allow": pairs}));
            for scope in [json!({"tenants": [wrong]}), json!({"applications": [wrong]}), one, two] {
                assert!(serde_json::from_value::<Scope>(scope.clone()).is_err(), "{scope}");
            }
        }
    }

    #[test]
    fn an_unknown_member_is_an_error() {
        for wrong in [json!({"tenant": []}), json!({"allow": [{"applications": []}]}), json!({"when_absent": "drop"})] {
            assert!(serde_json::from_value::<Scope>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
