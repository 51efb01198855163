//! A session as the identity provider holds it: its tokens, which refresh token is current, and who is refused.

use crate::{
    places::{Ms, SECOND},
    policy::App,
};

#[derive(Clone, Copy)]
pub struct Token {
    /// Seconds.
    pub issued: i64,
    pub expires: i64,
    /// The tenant's second signing key.
    pub new_key: bool,
    pub promoted: bool,
}

/// One `sid`.
pub struct Family {
    pub id: usize,
    pub person: usize,
    pub app: usize,
    pub sid: u128,
    pub login: Ms,
    /// The first comes from the login.
    pub tokens: Vec<Token>,
    /// Number of the refresh token that is current (0 for ever where they are reusable).
    current: usize,
    rotated: Ms,
    used: Ms,
    pub revoked: bool,
}

/// What the provider needs to know of the moment.
pub struct Moment {
    pub at: Ms,
    /// How wrong the node's clock is.
    pub skew: Ms,
    pub new_key: bool,
    pub promoted: bool,
    /// `false`: another webhook vetoes, all is undone.
    pub commits: bool,
}

impl Family {
    pub fn new(id: usize, person: usize, app: usize, sid: u128, moment: &Moment, of: &App) -> Self {
        let mut family = Self {
            id,
            person,
            app,
            sid,
            login: moment.at,
            tokens: Vec::new(),
            current: 0,
            rotated: moment.at,
            used: moment.at,
            revoked: false,
        };
        family.issue(moment, of);
        family
    }

    fn issue(&mut self, moment: &Moment, app: &App) -> usize {
        let issued = (moment.at + moment.skew).div_euclid(SECOND);
        let expires = issued + app.lifetime(moment.at) / SECOND;
        self.tokens.push(Token { issued, expires, new_key: moment.new_key, promoted: moment.promoted });
        self.tokens.len() - 1
    }

    /// A refresh with the refresh token number `presented`: the access token made and the refresh token that goes with it.
    /// `None`: refused, so that no event is sent.
    pub fn refresh(&mut self, presented: usize, moment: &Moment, app: &App) -> Option<(usize, usize)> {
        let from = if app.sliding { self.used } else { self.login };
        if self.revoked || moment.at > from + app.session {
            return None;
        }
        let Some(grace) = app.one_time else {
            let token = self.issue(moment, app);
            self.used = moment.at;
            return Some((token, presented));
        };
        if presented == self.current {
            let token = self.issue(moment, app);
            if moment.commits {
                self.current += 1;
                (self.rotated, self.used) = (moment.at, moment.at);
            }
            return Some((token, self.current));
        }
        if presented + 1 == self.current && moment.at <= self.rotated + grace {
            return Some((self.issue(moment, app), self.current));
        }
        self.revoked |= app.revoke_on_reuse;
        None
    }
}
