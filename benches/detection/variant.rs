//! The same world with other parameters: how figures move when people, clients and faults are not as assumed.

use crate::{
    places::MINUTE,
    policy::{App, Original, Storage, Tenant},
};

/// What is different.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// Nothing.
    #[default]
    None,
    /// Phones are on Wi-Fi half as often.
    Mobile,
    /// Clients leave out `original` in one refresh of seven, and those that do so anyway, more often.
    Sparse,
    /// Tokens live a quarter as long, five minutes at least.
    Short,
    /// Answers are lost, refreshes undone and browsers restored five times as often, and tabs race three times.
    Faulty,
    /// Browsers keep tokens by the tab in every application.
    Tabs,
    /// People stay five times as long.
    Open,
}

impl Variant {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "mobile" => Self::Mobile,
            "sparse" => Self::Sparse,
            "short" => Self::Short,
            "faulty" => Self::Faulty,
            "tabs" => Self::Tabs,
            "open" => Self::Open,
            _ => return None,
        })
    }

    pub fn change(self, tenants: &mut [Tenant], apps: &mut [App]) {
        if self == Self::Mobile {
            tenants.iter_mut().for_each(|tenant| tenant.wifi = 0.5);
        }
        for app in apps {
            match self {
                Self::Sparse => {
                    app.original = match app.original {
                        Original::Always => Original::Mostly(0.86),
                        Original::Mostly(share) => Original::Mostly(share * 0.86),
                        other => other,
                    }
                }
                Self::Short => {
                    let shorter = |lifetime: i64| (lifetime / 4).max(5 * MINUTE);
                    app.lifetime = shorter(app.lifetime);
                    app.changes = app.changes.map(|(since, lifetime)| (since, shorter(lifetime)));
                }
                Self::Tabs if app.in_browser() && app.storage == Storage::Shared => app.storage = Storage::Tab,
                Self::Open => app.use_length *= 5,
                _ => {}
            }
        }
    }

    /// How many times as often answers get lost, refreshes are undone and browsers restored.
    pub fn faults(self) -> f64 {
        if self == Self::Faulty { 5.0 } else { 1.0 }
    }

    /// How many times as often tabs race.
    pub fn races(self) -> f64 {
        if self == Self::Faulty { 3.0 } else { 1.0 }
    }
}
