//! The token chain of one session: which access token was issued from which, and which were spent.
//!
//! Holds the newest [`LINKS`] tokens by 6 bytes of their fingerprints, so that a storm of refreshes cannot make a
//! spent parent look unknown: what fell out is still known by its instant.

use serde::{Deserialize, Serialize};

use crate::detect::facts::Facts;

/// Tokens remembered of one session.
pub const LINKS: usize = 8;
/// Of these, so many that were refused.
const DENIED_MAX: usize = 2;

/// Seen as a parent before its own refresh arrived.
const UNSEEN: u8 = 1;
/// Its refresh was refused by the gate.
const DENIED: u8 = 2;
/// One of several that were issued for one parent at once, or came of such a one: each tab of a browser has its own.
const TAB: u8 = 4;

/// The part of a fingerprint that tells the tokens of one session apart: 48 bits.
type Tag = [u16; 3];

/// One token, in 18 bytes: instants are in halves so that nothing is lost between members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
    tag: Tag,
    issued: [u16; 2],
    /// 0 = not spent.
    spent: [u16; 2],
    /// The end of the tag it was issued for; 0 = not known.
    parent: u16,
    flags: u8,
    /// The network it was issued in, in short; 0 = not known.
    place: u8,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Oldest first.
    links: [Link; LINKS],
    len: u8,
    /// The instant of the newest token that fell out; 0 = none did.
    fallen: u32,
}

/// How a refresh's parent stands to what is known of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parent {
    /// Nothing is known of the session yet.
    Fresh,
    /// No parent was sent.
    None,
    /// The newest token, not yet spent: as it should be.
    Head,
    /// Spent within the leeway, or issued in such a race: one client that asked twice.
    Race,
    /// Spent, and what was issued for it was never used: a lost answer, a refresh that was undone, or the first sight of
    /// a second holder. Seconds since it was spent.
    Retry(u32),
    /// Not spent, and issued beside the newest: both are children of one parent, a second holder's or a second tab's.
    Branch,
    /// Not spent, and left behind by a newer one whose refresh named no parent.
    Left,
    /// Long spent, and the chain went on from it: how many tokens were issued since, at least.
    Stale(u32),
    /// Never seen: a refresh that was not announced to us.
    Unknown,
    /// Never seen, and older than all that was ever seen of the session: it had more than one token before that.
    Before,
    /// Its refresh was refused by us, and yet it exists: someone else let it through.
    Denied,
}

fn cut(tag: u64) -> Tag {
    [(tag & 0xffff) as u16, (tag >> 16 & 0xffff) as u16, (tag >> 32 & 0xffff) as u16]
}

fn halves(secs: u32) -> [u16; 2] {
    [(secs >> 16) as u16, (secs & 0xffff) as u16]
}

/// An instant as it is kept.
fn secs(instant: i64) -> u32 {
    u32::try_from(instant.max(0)).unwrap_or(u32::MAX)
}

impl Link {
    fn issued(&self) -> u32 {
        u32::from(self.issued[0]) << 16 | u32::from(self.issued[1])
    }

    fn spent(&self) -> u32 {
        u32::from(self.spent[0]) << 16 | u32::from(self.spent[1])
    }

    fn is_child_of(&self, other: &Self) -> bool {
        self.flags & DENIED == 0 && self.parent != 0 && self.parent == end(other.tag)
    }
}

/// What a child keeps of its parent's tag; never 0.
fn end(tag: Tag) -> u16 {
    tag[0].max(1)
}

/// The network of a refresh as it is kept, where 0 is none.
pub fn place(facts: &Facts) -> u8 {
    if facts.place.ip == 0 { 0 } else { ((facts.place.near & 0xff) as u8).max(1) }
}

impl Chain {
    fn known(&self) -> &[Link] {
        &self.links[..usize::from(self.len).min(LINKS)]
    }

    fn find(&self, tag: u64) -> Option<usize> {
        let tag = cut(tag);
        self.known().iter().position(|link| link.tag == tag)
    }

    /// The newest token whose refresh was let through.
    fn head(&self) -> Option<usize> {
        self.known().iter().rposition(|link| link.flags & (DENIED | UNSEEN) == 0)
    }

    /// When its tokens were issued, the newest first.
    pub fn instants(&self) -> impl Iterator<Item = u32> {
        self.known().iter().rev().filter(|link| link.flags & (DENIED | UNSEEN) == 0).map(Link::issued)
    }

    /// How the parent of a refresh stands to what is known. `leeway`: seconds.
    pub fn parent(&self, facts: &Facts, now: i64, leeway: u32) -> Parent {
        // Who was refused before anybody was let through has shown nothing of the session.
        if self.known().iter().all(|link| link.flags & DENIED != 0) && self.find(facts.parent).is_none() {
            return Parent::Fresh;
        }
        if facts.parent == 0 {
            return Parent::None;
        }
        // Its refresh arrived after the one that spends it: two deliveries overtook each other.
        if facts.child != 0 && self.find(facts.child).is_some() {
            return Parent::Head;
        }
        let Some(at) = self.find(facts.parent) else { return self.unknown(facts) };
        let link = &self.known()[at];
        if link.flags & DENIED != 0 {
            return Parent::Denied;
        }
        if link.spent() == 0 {
            return match self.head() {
                Some(head) if head != at && (self.raced(link, leeway) || self.are_tabs(head, at)) => Parent::Race,
                Some(head) if head != at && self.has_forked() => Parent::Branch,
                Some(head) if head != at => Parent::Left,
                _ => Parent::Head,
            };
        }
        let gap = secs(now).saturating_sub(link.spent());
        // By this instant: deliveries overtake each other.
        let went_on = |child: &Link| child.spent() != 0 && child.spent() <= secs(now);
        let carried_on = self.known().iter().any(|child| child.is_child_of(link) && went_on(child));
        if !carried_on {
            if gap <= leeway { Parent::Race } else { Parent::Retry(gap) }
        } else {
            // How many were issued since, the parent's own child left out.
            let behind = self.known()[at + 1..].iter().filter(|link| link.flags & DENIED == 0).count();
            Parent::Stale(u32::try_from(behind.saturating_sub(1).max(1)).unwrap_or(1))
        }
    }

    /// Whether any parent has two children.
    fn has_forked(&self) -> bool {
        let known = self.known();
        known.iter().any(|link| known.iter().filter(|child| child.is_child_of(link)).count() > 1)
    }

    /// Whether it was issued together with another one for the same parent: either may be the one that is used.
    fn raced(&self, link: &Link, leeway: u32) -> bool {
        let together = |other: &Link| other.issued().abs_diff(link.issued()) <= leeway;
        self.known().iter().any(|other| other.tag != link.tag && other.parent == link.parent && together(other))
            && link.parent != 0
    }

    /// Whether the holder of this parent is refreshed within so many seconds of the newest token's: now, or last time.
    pub fn is_in_step(&self, parent: u64, now: i64, within: u32) -> bool {
        let (Some(at), Some(head)) = (self.find(parent), self.head()) else { return false };
        let newest = self.links[head].issued();
        newest.abs_diff(self.links[at].issued()) <= within || newest.abs_diff(secs(now)) <= within
    }

    /// Whether the parent of a refresh was issued in another network than this one, as far as that is known.
    pub fn has_moved(&self, facts: &Facts) -> bool {
        let was = self.find(facts.parent).map_or(0, |at| self.links[at].place);
        let is = place(facts);
        was != 0 && is != 0 && was != is
    }

    /// Whether both came of one race, each by its own tab since.
    fn are_tabs(&self, one: usize, other: usize) -> bool {
        self.links[one].flags & self.links[other].flags & TAB != 0
    }

    /// A parent that is not in the list: older than everything in it, or issued behind our back.
    fn unknown(&self, facts: &Facts) -> Parent {
        let first = self.known().iter().find(|link| link.flags & DENIED == 0).map_or(0, Link::issued);
        match secs(facts.previous.iat) {
            0 if self.fallen == 0 => Parent::Unknown,
            iat if iat <= self.fallen || (iat < first && self.fallen != 0) => {
                // Its own child is one of those, or has fallen out, too.
                Parent::Stale(u32::from(self.len).saturating_sub(1).max(1))
            }
            iat if iat < first => Parent::Before,
            _ => Parent::Unknown,
        }
    }

    /// Remembers a refresh; `stands`: how its parent stood to what was known before.
    pub fn learn(&mut self, facts: &Facts, now: i64, stands: Parent) {
        let now = secs(now).max(1);
        let tab = self.tab(facts, stands);
        if facts.parent != 0 {
            match self.find(facts.parent) {
                Some(at) => {
                    self.links[at].spent = halves(now);
                    self.links[at].flags &= !DENIED;
                }
                None => {
                    let issued = if facts.previous.iat > 0 { secs(facts.previous.iat) } else { now };
                    // Its own refresh may still arrive, overtaken by this one.
                    let flags = if self.len == 0 { 0 } else { UNSEEN };
                    self.push(Link {
                        tag: cut(facts.parent),
                        issued: halves(issued),
                        spent: halves(now),
                        parent: 0,
                        flags,
                        place: 0,
                    });
                }
            }
        }
        if facts.child == 0 {
            return;
        }
        let parent = if facts.parent == 0 { 0 } else { end(cut(facts.parent)) };
        let place = place(facts);
        match self.find(facts.child) {
            Some(at) => {
                self.links[at].flags &= !UNSEEN;
                (self.links[at].parent, self.links[at].place) = (parent, place);
            }
            None => {
                let issued = if facts.issued.iat > 0 { secs(facts.issued.iat) } else { now };
                self.push(Link {
                    tag: cut(facts.child),
                    issued: halves(issued),
                    spent: [0; 2],
                    parent,
                    flags: tab,
                    place,
                });
            }
        }
    }

    /// The flag of a child: a race makes it and its siblings tabs, and the child of a tab is one as long as none forks.
    fn tab(&mut self, facts: &Facts, stands: Parent) -> u8 {
        let Some(at) = self.find(facts.parent).filter(|_| facts.parent != 0) else { return 0 };
        let parent = self.links[at];
        match stands {
            Parent::Race if parent.spent() != 0 => {
                let len = usize::from(self.len).min(LINKS);
                self.links[..len]
                    .iter_mut()
                    .filter(|link| link.is_child_of(&parent))
                    .for_each(|link| link.flags |= TAB);
                TAB
            }
            Parent::Head | Parent::Race => parent.flags & TAB,
            _ => 0,
        }
    }

    fn push(&mut self, link: Link) {
        if usize::from(self.len) < LINKS {
            self.links[usize::from(self.len)] = link;
            self.len += 1;
            return;
        }
        // Of many tabs that open at once a sibling goes, not their parent: the next one of them names it, too.
        let is_sibling = |other: &Link| other.flags & link.flags & TAB != 0 && other.parent == link.parent;
        let crowd = link.is_child_of(&self.links[0]).then_some(&self.links);
        let sibling = crowd.and_then(|links| links.iter().position(|other| is_sibling(other) && other.spent() == 0));
        if sibling.is_none() {
            self.fallen = self.fallen.max(self.links[0].issued());
        }
        self.links[sibling.unwrap_or(0)..].rotate_left(1);
        self.links[LINKS - 1] = link;
    }

    /// A token is called by another key's fingerprint from now on.
    pub fn rename(&mut self, from: u64, to: u64) {
        let Some(at) = self.find(from) else { return };
        let (before, now) = (end(self.links[at].tag), cut(to));
        self.links[at].tag = now;
        self.links.iter_mut().filter(|link| link.parent == before).for_each(|link| link.parent = end(now));
    }

    /// The gate refused the refresh that issued this token, which `with` has: it should not exist, is not the newest, and nothing
    /// was spent for it.
    pub fn refuse(&mut self, with: &Self, child: u64) {
        let Some(at) = with.find(child).filter(|_| child != 0) else { return };
        let denied = Link { flags: with.links[at].flags | DENIED, ..with.links[at] };
        match self.find(child) {
            Some(at) => self.links[at].flags |= DENIED,
            None => self.push_denied(denied),
        }
    }

    /// Few are kept: who is refused again and again drives out nothing of the holder's.
    fn push_denied(&mut self, link: Link) {
        let mut denied = self.known().iter().enumerate().filter(|(_, link)| link.flags & DENIED != 0).map(|(at, _)| at);
        match (denied.next(), denied.count() + 1 >= DENIED_MAX) {
            (Some(oldest), true) => {
                let len = usize::from(self.len).min(LINKS);
                self.links[oldest..len].rotate_left(1);
                self.links[len - 1] = link;
            }
            _ => self.push(link),
        }
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
