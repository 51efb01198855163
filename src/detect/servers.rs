//! What a refresh by a back end shows. Address and user agent are its servers', and say nothing about who holds the token; that
//! they are not its servers' says that somebody else does.

use super::{
    key::short,
    seen::Seen,
    signals::{Company, First, Net, Signals, Software},
};

impl Seen<'_> {
    /// Where a back end's refresh comes from: what is taken out of its store and used elsewhere is in other hands.
    pub fn net_of_servers(&self) -> Net {
        let place = &self.facts.place;
        let near = short(place.near);
        let was_here = || self.session.is_some_and(|session| session.contexts().iter().any(|had| had.near == near));
        match self.application.serves_from(near).filter(|_| place.ip != 0) {
            None => Net::Unknown,
            Some(is_theirs) if is_theirs || was_here() => Net::Same,
            Some(_) => Net::Country,
        }
    }

    /// What else there is of them; `seen`: what does not depend on where and by what. A server that is added has an address of
    /// its own and the software of the others, and many users at once: only who has neither is counted.
    pub fn of_servers(&self, seen: Signals) -> Signals {
        let (agent, is_first) = (&self.facts.agent, self.session.is_none());
        let is_theirs = self.application.serves_by(agent.class).filter(|_| agent.text != 0);
        let is_other = seen.place() >= Net::Area && is_theirs == Some(false);
        let (software, first) = match is_theirs {
            None => (Software::Unknown, First::Unknown),
            Some(_) if is_other => (Software::Other, First::Other),
            Some(_) => (Software::Same, First::Known),
        };
        Signals {
            software: if is_first { Software::Unknown } else { software },
            first: if is_first { first } else { First::Unknown },
            company: if is_other { self.company_level(seen.place()) } else { Company::Alone },
            renewal: self.others.renewal,
            stamina: self.stamina(),
            beat: self.beat(),
            ..seen
        }
    }
}
