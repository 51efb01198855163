//! What one session or user does more or less often than others, and for how long: so that a client that always refreshes
//! early, or a person who is always elsewhere, accuses nobody.

use super::{seen::Seen, signals::Stamina, state::session::Session};

/// Refreshes that an application's rate counts as, against a session's or user's own.
pub const HABIT_WEIGHT: f64 = 8.0;
/// Tokens in a row, at which something is said.
const STEPS: [(u16, Stamina); 8] = [
    (4, Stamina::Some),
    (6, Stamina::More),
    (10, Stamina::Many),
    (20, Stamina::Most),
    (40, Stamina::Endless),
    (80, Stamina::Sleepless),
    (160, Stamina::Tireless),
    (320, Stamina::Ceaseless),
];
/// What is known of all sessions of a user counts as this many refreshes of one.
const USER_WEIGHT: f64 = 10.0;

/// What a session or user does more or less often than others: how many of how many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habit {
    /// How many were out of the ordinary.
    pub odd: f64,
    /// Of how many.
    pub of: f64,
}

impl Habit {
    /// The share, as far as it was seen.
    pub fn share(self) -> f64 {
        self.odd / (self.of + HABIT_WEIGHT)
    }
}

/// The habits that count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// How far the user moves in mid-use, counted by [`how_far`](super::score::how_far).
    pub moves: [f64; 3],
    /// And on waking.
    pub wakes: [f64; 3],
    /// The session's client leaves out the parent or forks.
    pub forks: Habit,
    /// The session's address goes back and forth.
    pub flips: Habit,
    /// The session's client refreshes early.
    pub early: Habit,
    /// The session's client refreshes just before the end.
    pub ahead: Habit,
    /// The session has branches, or goes back, in one place: known of a refresh that is there, too.
    pub beside: Habit,
}

impl Seen<'_> {
    /// What this session and user do more often than others.
    pub fn habits(&self) -> Habits {
        let Some(session) = self.session else { return Habits::default() };
        Habits {
            moves: self.moves(session, 0),
            wakes: self.moves(session, 1),
            forks: Habit {
                odd: f64::from(session.forked) + f64::from(session.omitted),
                of: f64::from(session.originals) + f64::from(session.omitted),
            },
            flips: Habit { odd: session.flips.into(), of: session.events.into() },
            early: Habit { odd: session.early.into(), of: session.timed.into() },
            ahead: Habit { odd: session.ahead.into(), of: session.timed.into() },
            beside: match self.is_where_it_was() {
                true => Habit { odd: session.beside.into(), of: session.originals.into() },
                false => Habit::default(),
            },
        }
    }

    /// A phone moves more than the desk of the same person: the session's own ways count most. 0: in mid-use, 1: when it wakes.
    fn moves(&self, session: &Session, kind: usize) -> [f64; 3] {
        if self.is_backend {
            // A server does not go along with its users.
            return [0.0; 3];
        }
        let user = self.user.map_or([0; 3], |user| user.moves[kind]).map(f64::from);
        let all: f64 = user.iter().sum();
        let weight = all.min(USER_WEIGHT) / all.max(1.0);
        std::array::from_fn(|far| f64::from(session.moves[kind][far]) + weight * user[far])
    }

    /// The step that this refresh reaches, if neither this session nor another one of the user's, in the same application,
    /// has reached it before.
    pub fn stamina(&self) -> Stamina {
        let Some(session) = self.session.filter(|session| session.lifetime != 0) else { return Stamina::Unknown };
        let run = self.run();
        let record = session.run_max.max(self.others.run_max);
        let is_new = |step: u16| run == step && session.run < step && record < step;
        match STEPS.into_iter().find(|(step, _)| is_new(*step)) {
            Some((_, level)) => level,
            None if run == 0 => Stamina::Anew,
            None => Stamina::Unknown,
        }
    }

    /// How many tokens in a row were used up without a pause, this refresh's included. Tabs and retries use up none.
    pub fn run(&self) -> u16 {
        let (Some(session), Some(gap)) = (self.session, self.gap()) else { return 0 };
        if gap > session.lifetime.saturating_mul(3) / 2 {
            0
        } else if gap >= session.lifetime / 2 {
            session.run.saturating_add(1)
        } else {
            session.run
        }
    }
}
