//! The names that user agents use, and what they mean. Data only: a new program is a new line.
//!
//! Taken from the vendors' documentation and, for the long tail, from the public test cases of uap-core.

use crate::event::Client;

/// What asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Browser,
    App,
    /// Scripts and programs that people write or run by hand.
    Tool,
    /// Crawlers, monitors, feed readers.
    Bot,
    /// A back end that asks for its users.
    Server,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Browser => Client::BROWSER,
            Self::App => Client::APP,
            Self::Tool => Client::TOOL,
            Self::Bot => Client::BOT,
            Self::Server => Client::SERVER,
        }
    }
}

/// A program that is no browser.
pub(super) struct Program {
    /// The product's name, in any case.
    pub(super) name: &'static str,
    pub(super) family: &'static str,
    pub(super) kind: Kind,
    /// Whether it counts wherever it stands, and not only in the first place.
    pub(super) anywhere: bool,
}

macro_rules! programs {
    ($($kind:ident $place:ident { $($name:literal $(=> $family:literal)?),* $(,)? })*) => {
        &[$($(Program {
            name: $name,
            family: programs!(@family $name $($family)?),
            kind: Kind::$kind,
            anywhere: programs!(@$place),
        },)*)*]
    };
    (@family $name:literal) => { $name };
    (@family $name:literal $family:literal) => { $family };
    (@first) => { false };
    (@anywhere) => { true };
}

pub(super) const PROGRAMS: &[Program] = programs! {
    Tool anywhere {
        "HeadlessChrome", "PhantomJS", "Puppeteer", "Playwright", "Selenium", "Cypress", "jsdom", "SlimerJS",
        "aiohttp", "httpx" => "python-httpx", "PowerShell", "WindowsPowerShell" => "PowerShell", "Scrapy",
    }
    Tool first {
        "curl", "libcurl" => "curl", "libcurl-agent" => "curl", "Wget", "Wget2" => "Wget", "HTTPie", "xh",
        "python-requests", "python-httpx", "python-urllib", "python-urllib2" => "python-urllib", "python-urllib3",
        "urllib3" => "python-urllib3", "Python", "requests" => "python-requests", "PycURL", "Go-http-client",
        "Go 1.1 package http" => "Go-http-client", "Go" => "Go-http-client", "Java", "Java-http-client",
        "Apache-HttpClient", "Jakarta", "unirest-java", "libwww-perl", "lwp-request" => "libwww-perl",
        "lwp-trivial" => "libwww-perl", "LWP::Simple" => "libwww-perl", "WWW-Mechanize", "Mechanize", "PostmanRuntime",
        "insomnia", "bruno-runtime" => "Bruno", "RapidAPI", "Paw", "axios", "node-fetch", "node", "Node.js", "undici",
        "got", "superagent", "node-superagent" => "superagent", "needle", "Ruby", "rest-client", "Faraday", "Typhoeus",
        "http.rb", "PHP", "GuzzleHttp", "Guzzle" => "GuzzleHttp", "Symfony", "PECL::HTTP", "WinHttp", "WinHTTP",
        "reqwest", "hyper", "ureq", "isahc", "k6", "ApacheBench", "hey", "Vegeta", "JMeter", "Apache-JMeter", "Gatling",
        "sqlmap", "Nikto", "Nuclei", "masscan", "zgrab", "fasthttp", "Deno", "Bun", "lua-resty-http", "Elixir",
        "hackney", "Mint", "Jetty", "restsharp", "RestSharp", "HTTP_Request2",
    }
    Server first {
        "Restify", "ReactorNetty", "Vert.x-WebClient", "Spring", "FusionAuth", "oauth2-proxy", "nginx", "Envoy", "Traefik",
    }
    App first {
        "okhttp", "Dalvik", "Dart", "ktor-client", "Ktor", "Volley", "Alamofire", "AFNetworking", "Expo", "ReactNative",
        "React-Native" => "ReactNative", "UnityPlayer" => "Unity", "NSURLSession", "Flutter",
    }
};

/// Signs of well-known apps that show pages themselves, and their families.
pub(super) const APPS: &[(&str, &str)] = &[
    ("FBAV/", "Facebook"),
    ("FB_IAB", "Facebook"),
    ("FBAN/", "Facebook"),
    ("Instagram ", "Instagram"),
    ("Snapchat/", "Snapchat"),
    ("MicroMessenger/", "WeChat"),
    ("musical_ly_", "TikTok"),
    ("trill_", "TikTok"),
    ("BytedanceWebview", "TikTok"),
    ("LinkedInApp", "LinkedIn"),
    ("[Pinterest/", "Pinterest"),
    ("Twitter for ", "Twitter"),
    (" Line/", "LINE"),
    (" KAKAOTALK", "KakaoTalk"),
    (" GSA/", "Google app"),
    ("WhatsApp/", "WhatsApp"),
    (" Teams/", "Microsoft Teams"),
    (" Slack_SSB/", "Slack"),
    (" Spotify/", "Spotify"),
    (" Telegram-Android/", "Telegram"),
    (" baiduboxapp/", "Baidu"),
    ("Weibo", "Weibo"),
    (" Thunderbird/", "Thunderbird"),
];

/// Browsers by the product that only they have; those that claim to be others as well come first.
pub(super) const BROWSERS: &[(&str, &str)] = &[
    ("EdgiOS", "Edge"),
    ("EdgA", "Edge"),
    ("Edg", "Edge"),
    ("Edge", "Edge"),
    ("OPiOS", "Opera"),
    ("OPT", "Opera"),
    ("OPX", "Opera"),
    ("OPR", "Opera"),
    ("OPRGX", "Opera"),
    ("Opera", "Opera"),
    ("OculusBrowser", "Oculus Browser"),
    ("SamsungBrowser", "Samsung Internet"),
    ("YaBrowser", "Yandex Browser"),
    ("Vivaldi", "Vivaldi"),
    ("Brave", "Brave"),
    ("DuckDuckGo", "DuckDuckGo"),
    ("Ddg", "DuckDuckGo"),
    ("UCBrowser", "UC Browser"),
    ("MiuiBrowser", "MIUI Browser"),
    ("HuaweiBrowser", "Huawei Browser"),
    ("UCMobile", "UC Browser"),
    ("HonorBrowser", "Honor Browser"),
    ("SLBrowser", "Lenovo Browser"),
    ("Avast", "Avast Secure Browser"),
    ("ABB", "Aloha"),
    ("MQQBrowser", "QQ Browser"),
    ("QQBrowser", "QQ Browser"),
    ("HeyTapBrowser", "HeyTap Browser"),
    ("VivoBrowser", "Vivo Browser"),
    ("coc_coc_browser", "Coc Coc"),
    ("Whale", "Whale"),
    ("Silk", "Silk"),
    ("Puffin", "Puffin"),
    ("Maxthon", "Maxthon"),
    ("Epiphany", "Epiphany"),
    ("Konqueror", "Konqueror"),
    ("Falkon", "Falkon"),
    ("QtWebEngine", "QtWebEngine"),
    ("SeaMonkey", "SeaMonkey"),
    ("PaleMoon", "Pale Moon"),
    ("Waterfox", "Waterfox"),
    ("Iceweasel", "Firefox"),
    ("Focus", "Firefox Focus"),
    ("Klar", "Firefox Focus"),
    ("FxiOS", "Firefox"),
    ("Firefox", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chromium", "Chromium"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
];

/// Ends of words that name a bot.
pub(super) const BOTS: &[&str] = &[
    "bot",
    "bots",
    "crawl",
    "crawler",
    "spider",
    "scraper",
    "Slurp",
    "heritrix",
    "externalhit",
    "Lighthouse",
    "Pingdom",
];

/// Signs of systems, most particular first, and their families.
pub(super) const SYSTEMS: &[(&str, &str)] = &[
    ("Windows Phone", "Windows Phone"),
    ("Xbox", "Xbox"),
    ("Windows", "Windows"),
    ("Win64", "Windows"),
    ("WinNT", "Windows"),
    ("watchOS", "watchOS"),
    ("AppleTV", "tvOS"),
    ("Apple TV", "tvOS"),
    ("tvOS", "tvOS"),
    ("visionOS", "visionOS"),
    ("KAIOS", "KaiOS"),
    ("KaiOS", "KaiOS"),
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("iPod", "iOS"),
    ("iOS", "iOS"),
    ("CrOS", "ChromeOS"),
    ("Tizen", "Tizen"),
    ("Web0S", "webOS"),
    ("webOS", "webOS"),
    ("HarmonyOS", "HarmonyOS"),
    ("OpenHarmony", "HarmonyOS"),
    ("PlayStation", "PlayStation"),
    ("Nintendo", "Nintendo"),
    ("Android", "Android"),
    ("android", "Android"),
    ("Macintosh", "macOS"),
    ("macOS", "macOS"),
    ("Mac OS", "macOS"),
    ("FreeBSD", "BSD"),
    ("OpenBSD", "BSD"),
    ("NetBSD", "BSD"),
    ("Linux", "Linux"),
    ("linux", "Linux"),
    ("Ubuntu", "Linux"),
    ("X11", "Linux"),
    ("darwin", "macOS"),
];

/// Products that every browser has, whoever made it.
pub(super) fn is_engine(name: &str) -> bool {
    ["Mozilla", "AppleWebKit", "Gecko", "Mobile", "Version", "Safari", "Chrome", "Electron", "like", "Build", "Presto"]
        .contains(&name)
}
