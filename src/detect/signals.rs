//! What a refresh shows, each as one of a few levels: the words that rules and score share.
//!
//! Every level is relative to what is known of the session and its user. `Unknown` means that nothing can be said, and
//! counts for nothing: a missing field is never "new".

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! levels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $level:ident),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
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
        /// A new one, of a known provider.
        Area,
        /// A new provider's, in a known city.
        City,
        /// A new one, of a known provider, in a city that is new.
        Afar,
        /// A new one in a known country.
        Country,
        /// A country that is new.
        Abroad,
    }
    /// Where from, at a session's first refresh.
    Start {
        /// A network that its user had before.
        Own,
        /// A new one, of a known provider.
        Area,
        /// A new provider's, in a known city.
        City,
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
        /// Back where it was a moment before, by a telephone's or a roaming network.
        Sway,
        /// Back where it was a moment before.
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
    /// By what, at a session's first refresh.
    First {
        /// A kind of software that the user had before.
        Known,
        /// Another one.
        Other,
        /// A script, where people use browsers.
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
        /// A parent that a newer token, whose refresh named none, had left behind.
        Left,
        /// Another branch of a session that has forked, as tabs make them: at about the time of the one before, or in its
        /// place, where the application's tabs keep tokens of their own.
        Branch,
        /// Another branch at a time of its own, from the same address and by the same software as the one before.
        Beside,
        /// Another branch at a time of its own, from another address or by other software.
        Apart,
        /// A parent that was long spent.
        Stale,
        /// A parent that was never seen.
        Strange,
    }
    /// What became of a fork.
    Fork {
        /// Nothing: only one of the two children is in use.
        Lone,
        /// Both children of one parent are in use.
        Twins,
    }
    /// Of a parent that was spent before: who spent it, as far as the session's last refresh tells.
    Rival {
        /// Somebody where this refresh is, with the same kind of software.
        Alike,
        /// Somebody in another network, one of the session's or user's own.
        Own,
        /// Somebody in a network that was never seen before that.
        Stranger,
    }
    /// When, in lifetimes of the token before.
    Pace {
        /// At once.
        Burst,
        /// Well before its end.
        Early,
        /// Just before its end, where this client waits for it.
        Ahead,
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
    /// Whose provider it is, where the network is new to its user.
    Ground {
        /// Many users' own.
        Common,
        /// A few users' own.
        Few,
        /// One user's own.
        One,
        /// Nobody's.
        Nobody,
    }
    /// Where the user's other sessions are, while this one is in a network that is not the user's own yet.
    Elsewhere {
        /// In use somewhere else, or long ago.
        Quiet,
        /// In use at the same time in the user's own network, by other software.
        Apart,
        /// And by the same kind of software: one device in two networks.
        Torn,
        /// One of them was lately in this network, too.
        Here,
    }
    /// Whether the user signed in anew with the same software, to the same application.
    Renewal {
        /// Not since this session was last refreshed.
        Kept,
        /// Since then: this session was left behind.
        Renewed,
        /// Since then, where refresh tokens work once: whoever shows one late must sign in anew.
        Ousted,
        /// Since then, from the user's own network, and this session goes on in one that is not.
        Replaced,
    }
    /// How many tokens in a row a client has used up without a pause; each step is told when it is reached, unless it was
    /// reached before.
    Stamina {
        /// None: use begins.
        Anew,
        /// 4.
        Some,
        /// 6.
        More,
        /// 10.
        Many,
        /// 20.
        Most,
        /// 40.
        Endless,
        /// 80.
        Sleepless,
        /// 160.
        Tireless,
        /// 320.
        Ceaseless,
    }
    /// How many foreign networks of different providers or places a session was in without coming back, this one included;
    /// told when one is added.
    Drift {
        /// It came from a network of its user's.
        One,
        /// 2.
        Two,
        /// 3.
        Three,
        /// 4 or more.
        Many,
    }
    /// How alike the gaps between refreshes are, of those that no token's end explains, in a session whose gaps were not.
    Beat {
        /// Not at all.
        Loose,
        /// Two in a row.
        Twice,
        /// Three.
        Thrice,
        /// More.
        Steady,
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

impl From<Net> for Start {
    fn from(net: Net) -> Self {
        match net {
            Net::Unknown => Self::Unknown,
            Net::Same | Net::Own => Self::Own,
            Net::Area | Net::Afar => Self::Area,
            Net::City => Self::City,
            Net::Country => Self::Country,
            Net::Abroad => Self::Abroad,
        }
    }
}

/// All of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Where from, in the middle of a session's use.
    pub net: Net,
    /// Where from, when a session wakes.
    pub wake: Net,
    /// Where from, at a session's first refresh.
    pub start: Start,
    /// What kind of network.
    pub kind: Kind,
    /// How the place follows from the last one.
    pub path: Path,
    /// By what, within a session.
    pub software: Software,
    /// By what, at a session's first refresh.
    pub first: First,
    /// How parent and child follow.
    pub lineage: Lineage,
    /// What became of the session's last fork.
    pub fork: Fork,
    /// Who spent the parent before.
    pub rival: Rival,
    /// When, by a client that named its parent.
    pub pace: Pace,
    /// When, by one that did not.
    pub blind: Pace,
    /// Who else.
    pub company: Company,
    /// Whose provider it is.
    pub ground: Ground,
    /// Where the user's other sessions are.
    pub elsewhere: Elsewhere,
    /// Whether there is a newer session in its place.
    pub renewal: Renewal,
    /// For how many tokens.
    pub stamina: Stamina,
    /// How many foreign networks in a row.
    pub drift: Drift,
    /// How alike the gaps are.
    pub beat: Beat,
    /// At what hour.
    pub hour: Hour,
    /// Whether many sessions of the application spend a parent again, each where it was.
    pub undone: bool,
    /// Whether it and the one before raced, each from a network of its user's own.
    pub at_once: bool,
}

impl Signals {
    /// Where from, whenever.
    pub fn place(&self) -> Net {
        let start = match self.start {
            Start::Unknown => Net::Unknown,
            Start::Own => Net::Own,
            Start::Area => Net::Area,
            Start::City => Net::City,
            Start::Country => Net::Country,
            Start::Abroad => Net::Abroad,
        };
        self.net.max(self.wake).max(start)
    }

    /// As the score takes them: who goes back and forth and has the newest token each time is one holder, as are two who ask at
    /// once from networks of their own; and what happens to many at once is a fault.
    pub fn of_holders(self) -> Self {
        let is_one = (self.lineage == Lineage::Head || self.at_once) && matches!(self.path, Path::Flip | Path::Sway);
        let is_fault = self.undone && self.lineage == Lineage::Retry && self.rival == Rival::Alike;
        Self {
            path: if is_one { Path::Plain } else { self.path },
            lineage: if is_fault { Lineage::Race } else { self.lineage },
            ..self
        }
    }

    /// By what, whenever.
    pub fn agent(&self) -> Software {
        let first = match self.first {
            First::Unknown => Software::Unknown,
            First::Known => Software::Own,
            First::Other => Software::Other,
            First::Tool => Software::Tool,
        };
        self.software.max(first)
    }
}
