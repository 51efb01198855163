//! What one session or user does more or less often than others, and for how long: so that a client that always refreshes
//! early, or a person who is always elsewhere, accuses nobody.

use super::{
    score::{Habit, Habits},
    seen::Seen,
    signals::Stamina,
    state::session::Session,
};

/// With tokens that live longer, a pause for a night is no pause, seconds.
const LIFETIME_MAX: u32 = 2 * 3_600;
/// What is known of all sessions of a user counts as this many refreshes of one.
const USER_WEIGHT: f64 = 10.0;

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
        }
    }

    /// A phone moves more than the desk of the same person: the session's own ways count most. 0: in mid-use, 1: when it wakes.
    fn moves(&self, session: &Session, kind: usize) -> [f64; 3] {
        let user = self.user.map_or([0; 3], |user| user.moves[kind]).map(f64::from);
        let all: f64 = user.iter().sum();
        let weight = all.min(USER_WEIGHT) / all.max(1.0);
        std::array::from_fn(|far| f64::from(session.moves[kind][far]) + weight * user[far])
    }

    /// The step that this refresh reaches, if the one before had not reached it.
    pub fn stamina(&self) -> Stamina {
        let Some(session) = self.session.filter(|session| !self.pauses(session)) else { return Stamina::Unknown };
        let hours = |until: u32| until.saturating_sub(session.run_from) / 3_600;
        let (before, now) = (hours(session.last), hours(self.seconds()));
        let steps = [(36, Stamina::Days), (22, Stamina::Day), (14, Stamina::Long), (8, Stamina::Shift)];
        steps.into_iter().find(|(step, _)| before < *step && now >= *step).map_or(Stamina::Unknown, |(_, level)| level)
    }

    /// Whether the session was left alone for longer than its tokens live, or they live too long to tell.
    pub fn pauses(&self, session: &Session) -> bool {
        let gap = self.gap().unwrap_or(0);
        session.lifetime == 0 || session.lifetime > LIFETIME_MAX || gap > session.lifetime / 2 * 3
    }
}
