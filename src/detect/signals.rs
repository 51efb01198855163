//! What a refresh shows, each as one of a few levels: the words that rules and score share.
//!
//! Every level is relative to what is known of the session and its user. `Unknown` means that nothing can be said, and
//! counts for nothing: a missing field is never "new".

use serde::{Deserialize, Serialize};

macro_rules! levels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $level:ident),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            /// Nothing can be said.
            #[default]
            Unknown,
            $($(#[$about])* $level),*
        }

        impl $name {
            /// How many levels there are beside `Unknown`.
            pub const LEVELS: usize = [$(Self::$level),*].len();

            /// 0 for the first after `Unknown`; none for that.
            pub fn index(self) -> Option<usize> {
                (self as usize).checked_sub(1)
            }
        }
    )*};
}

levels! {
    /// Where from.
    Net {
        /// The session's last network.
        Same,
        /// One that the session or its user had before.
        Own,
        /// A new one, of a known provider or city.
        Area,
        /// A new one in a known country.
        Country,
        /// A country that is new.
        Abroad,
    }
    /// Where from, at a session's first refresh.
    Start {
        /// A network that its user had before.
        Own,
        /// A new one, of a known provider or city.
        Area,
        /// A new one in a known country.
        Country,
        /// A country that is new.
        Abroad,
    }
    /// What kind of network.
    Kind {
        /// Nothing special.
        Plain,
        /// A mobile carrier's, a relay or an aircraft.
        Mobile,
        /// A VPN, proxy or data centre that the session or its user had before.
        Habit,
        /// A VPN or proxy, new.
        Hidden,
        /// A data centre, new.
        Hosting,
        /// Tor, new.
        Tor,
    }
    /// How the place follows from the last one.
    Path {
        /// It does.
        Plain,
        /// Back where it was before, within one token's lifetime.
        Flip,
        /// Another of the user's sessions is somewhere else at the same time.
        Elsewhere,
        /// Faster than anyone travels.
        Travel,
    }
    /// By what.
    Software {
        /// The same user agent.
        Same,
        /// One that the session or its user had before.
        Own,
        /// The same, newer or otherwise changed a little.
        Update,
        /// The same, older.
        Older,
        /// Another browser, system or kind of device.
        Other,
        /// A script, where there was none.
        Tool,
    }
    /// How parent and child follow from what is known of the session.
    Lineage {
        /// The newest token, not yet spent.
        Head,
        /// No parent, where there usually is one.
        Omitted,
        /// A parent that was spent a moment ago.
        Race,
        /// A parent that was spent, its child unused.
        Retry,
        /// A parent beside the newest, for the first time since a fork: both children of one parent are in use.
        Branch,
        /// A parent that was long spent.
        Stale,
        /// A parent that was never seen.
        Strange,
    }
    /// When, in lifetimes of the token before.
    Pace {
        /// At once.
        Burst,
        /// Well before its end.
        Early,
        /// About at its end.
        OnTime,
        /// Later.
        Late,
        /// Much later.
        Idle,
    }
    /// How many other users are new to this network now.
    Company {
        /// None or a few.
        Alone,
        /// Some, more than usual.
        Some,
        /// Many, far more than usual.
        Many,
    }
    /// At what hour, for this user.
    Hour {
        /// A usual one.
        Usual,
        /// One at which they are rarely seen.
        Rare,
        /// One at which they are never seen.
        Never,
    }
}

/// All of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Where from, within a session.
    pub net: Net,
    /// Where from, at a session's first refresh.
    pub start: Start,
    /// What kind of network.
    pub kind: Kind,
    /// How the place follows from the last one.
    pub path: Path,
    /// By what.
    pub software: Software,
    /// How parent and child follow.
    pub lineage: Lineage,
    /// When.
    pub pace: Pace,
    /// Who else.
    pub company: Company,
    /// At what hour.
    pub hour: Hour,
}
