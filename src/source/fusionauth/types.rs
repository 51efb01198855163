//! The event types that FusionAuth has, to tell a slip of the pen from one that a later release adds.

/// `EventType` of its Java client, version 1.69; each with what completes it, where it has that.
const KNOWN: &[&str] = &[
    "audit-log.create",
    "entity.create",
    "entity.create.complete",
    "entity.delete",
    "entity.delete.complete",
    "entity.update",
    "entity.update.complete",
    "event-log.create",
    "group.create",
    "group.create.complete",
    "group.delete",
    "group.delete.complete",
    "group.member.add",
    "group.member.add.complete",
    "group.member.remove",
    "group.member.remove.complete",
    "group.member.update",
    "group.member.update.complete",
    "group.update",
    "group.update.complete",
    "jwt.public-key.update",
    "jwt.refresh",
    "jwt.refresh-token.revoke",
    "kickstart.success",
    "test",
    "user.action",
    "user.bulk.create",
    "user.create",
    "user.create.complete",
    "user.deactivate",
    "user.delete",
    "user.delete.complete",
    "user.email.update",
    "user.email.verified",
    "user.identity-provider.link",
    "user.identity-provider.unlink",
    "user.identity.update",
    "user.identity.verified",
    "user.login.failed",
    "user.login.new-device",
    "user.login.success",
    "user.login.suspicious",
    "user.loginId.duplicate.create",
    "user.loginId.duplicate.update",
    "user.password.breach",
    "user.password.reset.send",
    "user.password.reset.start",
    "user.password.reset.success",
    "user.password.update",
    "user.reactivate",
    "user.registration.create",
    "user.registration.create.complete",
    "user.registration.delete",
    "user.registration.delete.complete",
    "user.registration.update",
    "user.registration.update.complete",
    "user.registration.verified",
    "user.two-factor.challenge",
    "user.two-factor.failed-attempt",
    "user.two-factor.failed.attempt",
    "user.two-factor.method.add",
    "user.two-factor.method.remove",
    "user.two-factor.success",
    "user.update",
    "user.update.complete",
];

/// Letters that a slip gets wrong at most.
const SLIP_MAX: usize = 2;

/// Whether it is one of them.
pub(super) fn is_known(kind: &str) -> bool {
    KNOWN.contains(&kind)
}

/// What was meant by a type that there is not; none where it is known, or may be new.
pub(super) fn meant_by(kind: &str) -> Option<&'static str> {
    if is_known(kind) {
        return None;
    }
    let nearest = KNOWN.iter().map(|known| (strsim::damerau_levenshtein(kind, known), *known)).min();
    nearest.filter(|(distance, _)| *distance <= SLIP_MAX).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_what_is_new() {
        for (kind, meant) in [
            ("jwt.refresh", None),
            ("jwt.refreshh", Some("jwt.refresh")),
            ("jwt.refesh", Some("jwt.refresh")),
            ("user.reactivate", None),
            ("user.deactivated", Some("user.deactivate")),
            ("jwt.refresh-token.rotate", None),
        ] {
            assert_eq!(meant_by(kind), meant, "{kind}");
        }
    }
}
