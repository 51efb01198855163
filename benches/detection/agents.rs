//! What user agents call themselves, and how that changes when they are updated. Made by pattern, copied from nowhere.

use crate::{
    places::{DAY, Ms, START},
    rng::{mix, unit},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    Iphone,
    Android,
    Ipad,
    Windows,
    Mac,
    Linux,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browser {
    Chrome,
    Edge,
    Firefox,
    Safari,
    Samsung,
}

/// A device and how it is kept up to date.
#[derive(Clone, Debug)]
pub struct Machine {
    pub id: u64,
    pub platform: Platform,
    pub browser: Browser,
    /// How long after a release it is taken.
    pub lag: Ms,
    /// Never updates.
    pub stuck: bool,
    /// Moved to a new phone, sessions and all.
    pub replaced: Option<Ms>,
}

impl Machine {
    pub fn is_mobile(&self) -> bool {
        matches!(self.platform, Platform::Iphone | Platform::Android | Platform::Ipad)
    }

    /// Releases taken since the first day, of a product that releases every `days` (Chrome and Firefox: four weeks).
    fn releases(&self, at: Ms, days: i64, phase: i64) -> i64 {
        if self.stuck {
            -(self.id as i64 & 15) - 2
        } else {
            (at - START - self.lag + phase * DAY).div_euclid(days * DAY)
        }
    }

    /// The browser's `User-Agent`; `desktop` is what a phone sends in desktop mode.
    pub fn browser(&self, at: Ms, desktop: bool) -> String {
        let chrome = 145 + self.releases(at, 28, 20);
        let firefox = 148 + self.releases(at, 28, 6);
        // Apple releases about every six weeks, and phones take weeks to follow.
        let apple = self.releases(at, 42, 30) + 3;
        let webkit = "AppleWebKit/537.36 (KHTML, like Gecko)";
        let system = match self.platform {
            _ if desktop && self.platform == Platform::Android => "X11; Linux x86_64",
            Platform::Android => "Linux; Android 10; K",
            Platform::Windows => "Windows NT 10.0; Win64; x64",
            Platform::Linux => "X11; Linux x86_64",
            _ => "Macintosh; Intel Mac OS X 10_15_7",
        };
        let mobile = if self.platform == Platform::Android && !desktop { " Mobile" } else { "" };
        match (self.platform, self.browser) {
            (Platform::Iphone | Platform::Ipad, browser) if !desktop => self.on_ios(browser, chrome, apple),
            (Platform::Iphone | Platform::Ipad, _) | (Platform::Mac, Browser::Safari) => format!(
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.{} \
                 Safari/605.1.15",
                apple.max(0)
            ),
            (_, Browser::Firefox) => {
                let system = if mobile.is_empty() { system } else { "Android 15; Mobile" };
                format!("Mozilla/5.0 ({system}; rv:{firefox}.0) Gecko/20100101 Firefox/{firefox}.0")
            }
            (_, Browser::Edge) => {
                format!(
                    "Mozilla/5.0 ({system}) {webkit} Chrome/{chrome}.0.0.0{mobile} Safari/537.36 Edg/{chrome}.0.0.0"
                )
            }
            (_, Browser::Samsung) => format!(
                "Mozilla/5.0 ({system}) {webkit} SamsungBrowser/{}.0 Chrome/{}.0.0.0{mobile} Safari/537.36",
                29 + (chrome - 145).div_euclid(4),
                chrome - 9
            ),
            _ => format!("Mozilla/5.0 ({system}) {webkit} Chrome/{chrome}.0.0.0{mobile} Safari/537.36"),
        }
    }

    fn on_ios(&self, browser: Browser, chrome: i64, apple: i64) -> String {
        let device = if self.platform == Platform::Ipad { "iPad; CPU OS" } else { "iPhone; CPU iPhone OS" };
        let system = format!("{device} 18_{}", 7 + (apple.max(0) & 1));
        match browser {
            Browser::Chrome | Browser::Edge => format!(
                "Mozilla/5.0 ({system} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/{chrome}.0.0.0 \
                 Mobile/15E148 Safari/604.1"
            ),
            _ => format!(
                "Mozilla/5.0 ({system} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.{} \
                 Mobile/15E148 Safari/604.1",
                apple.max(0)
            ),
        }
    }

    /// What an app's own HTTP client sends; many send only their library's name.
    pub fn native(&self, at: Ms, app: &str, plain: bool) -> String {
        let release = 40 + self.releases(at, 14, 5);
        let (major, minor) = (release / 10, release % 10);
        let model = self.id + u64::from(self.replaced.is_some_and(|since| at >= since));
        match (self.platform, plain) {
            (Platform::Android, true) => "okhttp/4.12.0".to_owned(),
            (Platform::Android, false) => format!("{app}/{major}.{minor}.0 (Android 15; Phone {})", model % 40),
            (Platform::Iphone | Platform::Ipad, true) => {
                format!(
                    "{app}/{release} CFNetwork/3826.{}.1 Darwin/24.{}.0",
                    400 + self.releases(at, 42, 30),
                    model % 4
                )
            }
            (Platform::Iphone, false) => format!("{app}/{major}.{minor}.0 (iPhone; iOS 18.7; Scale/3.00)"),
            (Platform::Ipad, false) => format!("{app}/{major}.{minor}.0 (iPad; iOS 18.7; Scale/2.00)"),
            (Platform::Windows, _) => format!(
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) {app}/{major}.{minor}.0 \
                 Chrome/142.0.7444.59 Electron/39.1.0 Safari/537.36"
            ),
            _ => format!(
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) \
                 {app}/{major}.{minor}.0 Chrome/142.0.7444.59 Electron/39.1.0 Safari/537.36"
            ),
        }
    }

    /// What the system's own client sends for an app in the background.
    pub fn background(&self, at: Ms, app: &str) -> String {
        match self.platform {
            Platform::Android => format!("Dalvik/2.1.0 (Linux; U; Android 15; Phone {} Build/AP4A)", self.id % 40),
            _ => self.native(at, app, true),
        }
    }

    /// In one hour in 500 a phone's browser is in desktop mode (assumed).
    pub fn in_desktop_mode(&self, at: Ms) -> bool {
        self.is_mobile() && unit(mix(&[self.id, 77, (at / 3_600_000) as u64])) < 0.002
    }

    /// `info.os`.
    pub fn system(&self) -> &'static str {
        match self.platform {
            Platform::Iphone | Platform::Ipad => "iOS",
            Platform::Android => "Android",
            Platform::Windows => "Windows",
            Platform::Mac => "macOS",
            Platform::Linux => "Linux",
        }
    }
}

/// What thieves and scripts call themselves.
pub const TOOLS: &[&str] = &[
    "python-requests/2.32.3",
    "axios/1.7.9",
    "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)",
    "Go-http-client/2.0",
    "curl/8.11.1",
    "python-httpx/0.28.1",
    "okhttp/4.12.0",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/141.0.0.0 Safari/537.36",
];
