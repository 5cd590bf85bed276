//! A browser of one's own, and how to use it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ADMIN_EMAIL, ADMIN_PASSWORD, TestApp, client, eventually};

const REMEDY: &str =
    "`apt-get install chromium chromium-driver`, or run `scripts/test.sh`, which sees to it";

/// What Chromium does besides, in a test, is nothing but the test. Through a pipe it notices when its
/// driver is gone, and goes too.
const ARGUMENTS: [&str; 11] = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
];

/// chromedriver on a port that it has chosen. It ends when this is dropped.
struct Driver {
    process: Child,
    url: String,
    /// What Chromium keeps; goes last.
    _profile: TempDir,
}

impl Driver {
    fn start() -> (Self, Value) {
        let profile = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("room for a folder");
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("chromedriver does not start ({error}): {REMEDY}"));
        let said = process.stdout.take().expect("it is piped");
        let port = BufReader::new(said)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse::<u16>().ok()
            });
        let port = port.unwrap_or_else(|| panic!("chromedriver names no port: {REMEDY}"));
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let driver = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            _profile: profile,
        };
        (driver, capabilities)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// A page of a service, in a browser of its own.
pub(crate) struct Page {
    client: Client,
    driver: Driver,
    session: String,
    origin: String,
}

impl Page {
    /// Opens this path of the service.
    pub(crate) async fn open(app: &TestApp, path: &str) -> Self {
        Self::open_at(app.address, path).await
    }

    /// The same where the service is reached at this address.
    pub(crate) async fn open_at(address: SocketAddr, path: &str) -> Self {
        let (driver, capabilities) = tokio::task::block_in_place(Driver::start);
        let capabilities = capabilities.as_object().cloned().unwrap_or_default();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&driver.url)
            .await
            .unwrap_or_else(|error| panic!("Chromium does not start ({error}): {REMEDY}"));
        let session = client.session_id().await.expect("the driver answers");
        let page = Self {
            client,
            driver,
            session: session.expect("there is a session"),
            origin: format!("http://{address}"),
        };
        page.go(path).await;
        page
    }

    pub(crate) async fn go(&self, path: &str) {
        let url = format!("{}{path}", self.origin);
        self.client.goto(&url).await.expect("the page is there");
    }

    /// The dashboard, with the admin logged in.
    pub(crate) async fn dashboard(app: &TestApp) -> Self {
        Self::dashboard_at(app.address).await
    }

    /// The same where the service is reached at this address.
    pub(crate) async fn dashboard_at(address: SocketAddr) -> Self {
        let page = Self::open_at(address, "/dashboard").await;
        page.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
        page.shows("#board").await;
        page
    }

    pub(crate) async fn log_in(&self, email: &str, password: &str) {
        self.shows("#login").await;
        self.type_into("#email", email).await;
        self.type_into("#password", password).await;
        self.click("#login-form button").await;
    }

    pub(crate) async fn find(&self, css: &str) -> Element {
        let found = self.client.find(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    pub(crate) async fn click(&self, css: &str) {
        let clicked = self.find(css).await.click().await;
        clicked.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Replaces what is in a field.
    pub(crate) async fn type_into(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.expect("it can be emptied");
        field.send_keys(text).await.expect("it can be typed into");
    }

    /// Types into whatever has the focus, and then presses a key.
    pub(crate) async fn press(&self, text: &str, key: Key) {
        let focused = self
            .client
            .active_element()
            .await
            .expect("something has it");
        let keys = text.to_owned() + &key;
        focused.send_keys(&keys).await.expect("it takes keys");
    }

    /// What a script answers.
    pub(crate) async fn eval(&self, script: &str) -> Value {
        let answer = self.client.execute(script, vec![]).await;
        answer.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The text of an element, seen or not.
    pub(crate) async fn text(&self, css: &str) -> String {
        let text = self.find(css).await.prop("textContent").await;
        text.expect("it has a text").unwrap_or_default()
    }

    pub(crate) async fn is_shown(&self, css: &str) -> bool {
        self.find(css)
            .await
            .is_displayed()
            .await
            .expect("the driver answers")
    }

    /// Waits until an element is there and can be seen.
    pub(crate) async fn shows(&self, css: &str) {
        eventually(css, async || {
            match self.client.find(Locator::Css(css)).await {
                Ok(element) => element.is_displayed().await.unwrap_or(false),
                Err(_) => false,
            }
        })
        .await;
    }

    /// Waits until an element has a text like this.
    pub(crate) async fn says(&self, css: &str, text: &str) {
        let what = format!("{css} says {text:?}");
        eventually(&what, async || self.text(css).await.contains(text)).await;
    }

    /// Waits until an element has this text and no other.
    pub(crate) async fn says_only(&self, css: &str, text: &str) {
        let what = format!("{css} says {text:?} only");
        eventually(&what, async || self.text(css).await == text).await;
    }

    /// A command that only Chromium knows.
    async fn chromium(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/session/{}/{path}", self.driver.url, self.session);
        let answer = client().post(url).json(&body).send().await;
        let answer = answer.expect("the driver answers").json::<Value>().await;
        answer.expect("it answers in JSON")["value"].clone()
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.chromium("goog/cdp/execute", body).await;
    }

    /// As wide and high as this, whatever the window is.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    /// `light` or `dark`, as whoever looks prefers.
    pub(crate) async fn prefer(&self, theme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Asks for all that was noted since the beginning, and closes the browser. Errors and warnings on
    /// the page must be these, each of which must be there; requests must have gone to the service.
    pub(crate) async fn close(self, expected: &[&str]) {
        let log = self.chromium("se/log", json!({ "type": "browser" })).await;
        let complaints = log.as_array().expect("a log").iter();
        let complaints = complaints.filter(|entry| {
            ["SEVERE", "WARNING"]
                .iter()
                .any(|level| entry["level"] == *level)
        });
        let log: Vec<String> = complaints
            .map(|entry| entry["message"].to_string())
            .collect();
        for said in &log {
            let is_expected = expected.iter().any(|known| said.contains(known));
            assert!(is_expected, "the page complains: {said}");
        }
        for known in expected {
            let is_there = log.iter().any(|said| said.contains(known));
            assert!(is_there, "nobody complained of {known}: {log:?}");
        }
        let asked = self.requests().await;
        assert!(!asked.is_empty(), "the browser notes what it asks for");
        for url in asked {
            // The browser begins with a page of its own, which comes out of itself.
            let is_within = ["chrome:", "chrome-untrusted:", "data:"];
            let ours = [
                format!("{}/", self.origin),
                format!("blob:{}/", self.origin),
            ];
            let is_ours = is_within.iter().any(|scheme| url.starts_with(scheme))
                || ours.iter().any(|origin| url.starts_with(origin));
            assert!(is_ours, "the page asked for {url}");
        }
        self.client.close().await.expect("it closes");
    }

    /// Every URL that was asked for since the beginning.
    async fn requests(&self) -> Vec<String> {
        let log = self
            .chromium("se/log", json!({ "type": "performance" }))
            .await;
        let events = log
            .as_array()
            .expect("a log")
            .iter()
            .filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
        let sent = events.filter(|event| event["message"]["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| {
            let url = &event["message"]["params"]["request"]["url"];
            url.as_str().map(str::to_owned)
        })
        .collect()
    }
}
